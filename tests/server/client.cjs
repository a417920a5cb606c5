// The official JavaScript client against a server: node client.cjs BASE_URL. Prints what it got as one line of JSON.
"use strict";

const { OpenAI, APIError, NotFoundError } = require("openai");

async function main() {
  const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
  const messages = [{ role: "user", content: "short" }];
  const got = {};

  const whole = await client.chat.completions.create({ model: "ragapp", messages });
  got.whole = [whole.object, whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.total_tokens];

  got.pieces = [];
  const stream = await client.chat.completions.create({
    model: "ragapp", messages, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta?.content) got.pieces.push(chunk.choices[0].delta.content);
    if (chunk.choices[0]?.finish_reason) got.reason = chunk.choices[0].finish_reason;
    if (chunk.usage) got.usage = chunk.usage.total_tokens;
  }

  const put = client.chat.completions.stream({ model: "ragapp", messages });
  got.put_together = (await put.finalMessage()).content;

  const slow = await client.chat.completions.create({
    model: "ragapp", messages: [{ role: "user", content: "slow" }], stream: true,
  });
  for await (const chunk of slow) {
    if (chunk.choices[0]?.delta?.content) break; // closes the connection
  }

  got.models = (await client.models.list()).data.map((model) => model.id);
  const made = await client.embeddings.create({ model: "ragapp", input: ["a pump", "x"] });
  got.embeddings = made.data.map((each) => each.embedding.length);
  try {
    await client.chat.completions.create({ model: "gpt-4o", messages });
  } catch (error) {
    got.missing = error instanceof NotFoundError ? [error.status, error.code, error.param] : String(error);
  }
  try {
    await client.chat.completions.create({ model: "ragapp", messages, n: 2 });
  } catch (error) {
    got.refused = [error.status, error.param];
  }
  try {
    const failing = await client.chat.completions.create({
      model: "ragapp", messages: [{ role: "user", content: "fails_late" }], stream: true,
    });
    for await (const _ of failing);
  } catch (error) {
    got.failed = error instanceof APIError ? error.message : String(error);
  }
  console.log(JSON.stringify(got));
}

main();
