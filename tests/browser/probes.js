({
  // Drop files anywhere in the window: [{name, body}] with bodies in base64.
  drop(files) {
    const carried = new DataTransfer();
    for (const { name, body } of files) {
      const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
      carried.items.add(new File([bytes], name));
    }
    for (const type of ["dragenter", "dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer: carried, bubbles: true, cancelable: true }));
    }
  },
  // The words of a page whose middle lies in one of the boxes that are drawn on it.
  words(page) {
    const sheet = document.querySelector(`.page-sheet[data-page="${page}"]`);
    const boxes = [...sheet.querySelectorAll(".page-box")].map((box) => box.getBoundingClientRect());
    const inside = (word) => {
      const at = word.getBoundingClientRect(), x = (at.left + at.right) / 2, y = (at.top + at.bottom) / 2;
      return boxes.some((box) => box.left <= x && x <= box.right && box.top <= y && y <= box.bottom);
    };
    return [...sheet.querySelectorAll(".page-text span")].filter(inside).map((word) => word.textContent.trim()).join(" ");
  },
  // The share of dark pixels of a page's picture, under its boxes and outside them.
  ink(page) {
    const sheet = document.querySelector(`.page-sheet[data-page="${page}"]`);
    const image = sheet.querySelector("img"), frame = sheet.getBoundingClientRect();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const scale = image.naturalWidth / frame.width;
    const dark = (x, y, width, height) => {
      const seen = pen.getImageData(x, y, Math.max(1, width), Math.max(1, height)).data;
      let count = 0;
      for (let at = 0; at < seen.length; at += 4) if (seen[at] < 128) count++;
      return [count, seen.length / 4];
    };
    let [count, all] = [0, 0];
    for (const box of sheet.querySelectorAll(".page-box")) {
      const at = box.getBoundingClientRect();
      const [some, of] = dark((at.left - frame.left) * scale, (at.top - frame.top) * scale, at.width * scale, at.height * scale);
      count += some;
      all += of;
    }
    const [whole, area] = dark(0, 0, canvas.width, canvas.height);
    return { inside: count / all, outside: (whole - count) / (area - all) };
  },
  // Words that were never found in a dictionary stand as their own key.
  untranslated() {
    return [...document.querySelectorAll("[data-t]")].filter((one) => one.textContent === one.dataset.t).map((one) => one.dataset.t);
  },
  // What is copied when all the words of a page are selected.
  selected(page) {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector(`.page-sheet[data-page="${page}"] .page-text`));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return getSelection().toString();
  },
  // What can be seen and touched and is less than so many pixels wide or high, marks inside a text aside.
  small(least) {
    const all = [...document.querySelectorAll("button:not(.chip), input, select, summary")].filter((one) => one.checkVisibility());
    const boxes = all.map((one) => [one, (one.closest("label") ?? one).getBoundingClientRect()]).filter(([one, box]) => box.width && !one.closest(".visually-hidden"));
    return boxes.filter(([, box]) => box.width < least || box.height < least).map(([one, box]) => `${one.className} ${one.ariaLabel ?? one.innerText}: ${box.width} × ${box.height}`);
  },
})
