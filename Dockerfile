# ragapp in a container: docker build -t ragapp . && docker run --rm --read-only --tmpfs /tmp -v ragapp-data:/data \
#   -p 127.0.0.1:8808:8808 -e RAGAPP_SERVER_API_KEY=… ragapp
# The library is /data/.ragapp, and nothing else is ever written but /tmp. At run time it needs no network.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/ragapp
COPY . .
# With the constraints pip takes the build of torch for CPUs; without them it brings several GB of CUDA.
RUN /opt/ragapp/bin/pip install --no-cache-dir -c constraints.txt ".[telemetry]"

FROM python:3.12-slim
# Pages that are scans are read by tesseract; torch and OpenVINO compute with several threads by libgomp.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 tesseract-ocr tesseract-ocr-chi-sim \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin ragapp \
    && install -d -o ragapp -g ragapp -m 0700 /data
COPY --from=build /opt/ragapp /opt/ragapp
ENV PATH=/opt/ragapp/bin:$PATH \
    HOME=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    RAGAPP_CACHE=/data/cache \
    RAGAPP_SERVER_HOST=0.0.0.0 \
    RAGAPP_SERVER_LOG=json \
    HF_HUB_OFFLINE=1
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8808
STOPSIGNAL SIGTERM
# The check needs no key: it only asks whether an answer could be given.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8808/readyz', timeout=4)"]
ENTRYPOINT ["ragapp"]
CMD ["serve"]
