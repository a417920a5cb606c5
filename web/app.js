// The window's beginning: the bar, the words, the three places, and the stream of what happens on the server.
import { chooseCollection, chosenCollection, get, listen, setKey } from "./api.js";
import { emit, on } from "./bus.js";
import { at, dialog, fill, h, icon, name, toast } from "./dom.js";
import { add, apply, choose, current } from "./i18n.js";
import { mountLibrary } from "./library.js";
import { mountModel } from "./model.js";
import { mountPage } from "./page.js";
import { mountPanes } from "./panes.js";
import { mountTalk } from "./talk.js";

add({
  en: {
    "app.skip": "Skip to the question", "app.library": "Library", "app.talk": "Talk", "app.page": "Page", "app.places": "Places",
    "app.resize_library": "Width of the library", "app.resize_page": "Width of the page", "app.close": "Close", "app.theme_auto": "Light or dark as the system has it. Change to light", "app.theme_light": "Light. Change to dark", "app.theme_dark": "Dark. Change to what the system has",
    "app.language": "中文", "app.language_label": "Change the language to Chinese", "app.collection": "Collection", "app.offline": "The server does not answer. Trying again …", "app.online": "The server answers again.",
    "app.key": "API key", "app.key_why": "This server wants a key. It is kept for this tab alone.", "app.key_wrong": "The server does not take the key of this tab, or not any more. Enter another one.", "app.enter": "Enter", "app.cancel": "Cancel", "app.refused": "{message} {hint}",
  },
  zh: {
    "app.skip": "跳到提问", "app.library": "文档库", "app.talk": "对话", "app.page": "页面", "app.places": "区域",
    "app.resize_library": "文档库的宽度", "app.resize_page": "页面的宽度", "app.close": "关闭", "app.theme_auto": "明暗跟随系统。切换为浅色", "app.theme_light": "浅色。切换为深色", "app.theme_dark": "深色。切换为跟随系统",
    "app.language": "English", "app.language_label": "切换为英文", "app.collection": "文档集", "app.offline": "服务器没有响应，正在重试……", "app.online": "服务器已恢复响应。",
    "app.key": "API 密钥", "app.key_why": "此服务器需要密钥。密钥只保存在当前标签页。", "app.key_wrong": "服务器不接受当前标签页的密钥，或该密钥已失效。请输入另一个。", "app.enter": "进入", "app.cancel": "取消", "app.refused": "{message} {hint}",
  },
});

const THEMES = ["auto", "light", "dark"];

const themeButton = h("button", { type: "button", class: "icon-button", id: "theme", onclick: () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length]) });

/** @param {string} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  fill(themeButton, icon(theme === "auto" ? "theme" : theme === "light" ? "sun" : "moon"));
  name(themeButton, { tLabel: `app.theme_${theme}`, tTitle: `app.theme_${theme}` });
}

function bar() {
  const language = h("button", { type: "button", class: "quiet", t: "app.language", tTitle: "app.language_label", onclick: () => choose(current() === "en" ? "zh" : "en") });
  fill(
    at("bar"),
    h("div", { class: "brand" }, h("img", { src: "/web/icon.svg", alt: "", width: 22, height: 22 }), h("h1", {}, "ragapp")),
    h("div", { id: "collections", class: "collections" }),
    h("div", { class: "bar-space" }),
    h("div", { id: "model", class: "model" }),
    language,
    themeButton,
  );
}

async function collections() {
  const { data } = await get("/collections");
  const names = data.map((/** @type {import("./types.js").CollectionEntry} */ entry) => entry.name);
  if (!names.includes(chosenCollection())) chooseCollection("");
  if (names.length < 2) return fill(at("collections"), h("span", { class: "muted" }, names[0] ?? ""));
  const select = h("select", { tLabel: "app.collection", onchange: () => chooseCollection(select.value) }, ...names.map((/** @type {string} */ name) => h("option", { value: name }, name)));
  select.value = chosenCollection() || names[0];
  fill(at("collections"), select);
}

/** Ask for the key, once at a time. */
function askForKey() {
  if (document.querySelector("dialog[open]")) return;
  dialog("app.key", (close) => {
    const field = h("input", { type: "password", autocomplete: "off", required: true, tLabel: "app.key" });
    const enter = (/** @type {Event} */ event) => {
      event.preventDefault();
      setKey(field.value.trim());
      close();
      location.reload();
    };
    return [h("form", { class: "stack", onsubmit: enter }, h("p", { t: sessionStorage.getItem("key") ? "app.key_wrong" : "app.key_why" }), field, h("button", { class: "primary", t: "app.enter" }))];
  });
}

async function start() {
  setTheme(THEMES.find((theme) => theme === localStorage.getItem("theme")) ?? "auto");
  bar();
  mountPanes();
  on("key", askForKey);
  /** @type {HTMLElement|null} */
  let away = null;
  on("offline", (now) => {
    if (now === Boolean(away)) return;
    away?.remove();
    away = now ? toast("app.offline", {}, "error", true) : null;
    if (!now) toast("app.online");
  });
  mountLibrary(at("library"));
  mountTalk(at("talk"));
  mountPage(at("page"));
  mountModel(at("model"));
  apply(document.documentElement);
  await collections().catch(() => undefined);
  emit("started");
  void listen();
}

void start();
