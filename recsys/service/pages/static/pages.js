// What HTML and htmx do not do: streaming, comboboxes, tooltips, colours, copying. Text is never executed.
"use strict";

const announce = (text) => { document.getElementById("status").textContent = text; };

// --- streams: server-sent events, read with fetch because EventSource can neither POST nor be stopped --------

let running = null;

async function readStream(address, options, handlers) {
  running?.abort("replaced");
  const controller = running = new AbortController();
  let last = "";
  try {
    const headers = { Accept: "text/event-stream", "HX-Request": "true" };
    const response = await fetch(address, { ...options, headers, signal: controller.signal });
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return handlers.failed(await errorHtml(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { value, done } = await reader.read();
      if (done) break;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const lines = event.split("\n");
        const field = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 2));
        [last] = field("event");
        handlers[last]?.(field("data").join("\n"));
      }
    }
    if (last !== "done" && last !== "failed") handlers.lost();
  } catch {
    if (!controller.signal.aborted) handlers.lost(); else if (controller.signal.reason === "stop") handlers.stopped();
  } finally {
    if (running === controller) running = null;
  }
}

// What came instead of a stream: HTML of the pages, or problem+json of the service.
async function errorHtml(response) {
  const text = await response.text();
  if (response.headers.get("content-type")?.startsWith("text/html")) return text;
  const box = message("failure", "The service did not answer. Try again in a moment.");
  try {
    const { detail, hint } = JSON.parse(text);
    box.textContent = [detail, hint].filter(Boolean).join(": ");
  } catch { /* not problem+json */ }
  return box.outerHTML;
}

function message(kind, text) {
  const box = Object.assign(document.createElement("div"), { className: kind, textContent: text });
  box.setAttribute("role", kind === "failure" ? "alert" : "note");
  return box;
}

// Replace the content of an element; open details stay open and the focus stays where it was.
function replaceContent(element, html) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const open = [...element.querySelectorAll("details[open]")].map((details) => details.closest("[id]")?.id);
  element.innerHTML = html;
  htmx.process(element);
  for (const id of open) document.getElementById(id)?.querySelector("details")?.setAttribute("open", "");
  if (focused) (document.getElementById(focused.id) ?? element.querySelector("[tabindex='-1']"))?.focus({ preventScroll: true });
}

// Handlers of the events that end a stream, the same for every stream.
function endHandlers(element, end) {
  const showInstead = (box) => {
    const live = element.querySelector(".waiting, .live");
    const nothingElse = live?.matches(".waiting");
    element.querySelectorAll(".pending").forEach((pending) => pending.remove());
    if (nothingElse) element.replaceChildren(box); else if (live) live.replaceWith(box); else element.prepend(box);
    end(box.textContent);
  };
  return {
    state: (text) => { const live = element.querySelector(".live span"); if (live) live.textContent = text; announce(text); },
    failed: (html) => { replaceContent(element, html); end(element.textContent.trim()); },
    lost: () => showInstead(message("failure", "The connection was lost. Try again.")),
    stopped: () => {
      const bar = element.querySelector(".live progress");
      showInstead(message("note", bar?.max > 1 ? `Stopped after ${bar.value} of ${bar.max}.` : "Stopped."));
    },
  };
}

function advance(element) {
  const bar = element.querySelector(".live progress");
  if (!bar) return;
  bar.value += 1;
  bar.nextElementSibling.textContent = `${bar.value} of ${bar.max}`;
}

function listen(answer) {
  const address = answer.dataset.stream;
  delete answer.dataset.stream;
  const narrow = matchMedia("(max-width: 56rem)").matches;  // the answer is below the form
  if (narrow) answer.scrollIntoView();
  const end = (text) => { answer.removeAttribute("aria-busy"); announce(text); };
  readStream(address, {}, {
    ...endHandlers(answer, end),
    ranked: (html) => {
      replaceContent(answer, html);
      if (narrow) answer.scrollIntoView();
      announce("Ranked. Writing the reasons.");
    },
    reason: (text) => {
      const [rank, ...lines] = text.split("\n");
      const target = document.getElementById(`reason-${rank}`);
      if (target) replaceContent(target, lines.join("\n"));
      advance(answer);
    },
    done: (html) => { replaceContent(answer, html); end("The answer is complete."); },
  });
}

function compare(form) {
  const result = document.querySelector(form.dataset.compares);
  result.replaceChildren(document.getElementById("comparing").content.cloneNode(true));
  form.setAttribute("aria-busy", "true");
  const end = (text) => { form.removeAttribute("aria-busy"); announce(text); };
  readStream(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }, {
    ...endHandlers(result, end),
    begun: (html) => replaceContent(result, html),
    row: (html) => { result.querySelector("tbody").insertAdjacentHTML("beforeend", html); advance(result); },
    done: (html) => { replaceContent(result, html); end("The comparison is complete."); },
  });
}

// --- comboboxes: WAI-ARIA, "list autocomplete with manual selection" ------------------

function combobox(box) {
  const input = box.querySelector("input");
  const list = box.querySelector("[role=listbox]");
  let active = -1;
  const options = () => [...list.querySelectorAll("[role=option]:not([aria-disabled])")];
  const show = (open) => {
    list.hidden = !open;
    input.setAttribute("aria-expanded", String(open));
    if (!open) mark(-1);
  };
  const mark = (index) => {
    const all = options();
    active = all.length && index >= 0 ? index % all.length : -1;
    all.forEach((option, position) => option.setAttribute("aria-selected", String(position === active)));
    if (active < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", all[active].id);
      all[active].scrollIntoView({ block: "nearest" });
    }
  };
  const pick = (option) => {
    if (box.dataset.combo === "several") {
      choose(input.name, option.dataset.value, option.textContent.trim());
      input.value = "";
    } else {
      input.value = input.name === "user" ? option.dataset.value : option.textContent.trim();
      if (box.dataset.pick) box.querySelector(box.dataset.pick).value = option.dataset.value;
    }
    list.replaceChildren();
    show(false);
    input.focus();
  };
  input.addEventListener("keydown", (event) => {
    const all = options();
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) { all.length ? show(true) : htmx.trigger(input, "suggest"); }
      if (all.length) mark(event.key === "ArrowDown" ? active + 1 : active <= 0 ? all.length - 1 : active - 1);
    } else if (event.key === "Enter" && !list.hidden && active >= 0) {
      event.preventDefault();
      pick(all[active]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      show(false);
    }
  });
  input.addEventListener("blur", () => setTimeout(() => show(false), 150));
  list.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]:not([aria-disabled])");
    if (option) pick(option);
  });
  list.addEventListener("htmx:afterSwap", () => {
    active = -1;
    show(list.children.length > 0 && document.activeElement === input);
  });
}

function choose(name, value, text) {
  const list = document.getElementById(`chosen-${name}`);
  if ([...list.querySelectorAll("input")].some((input) => input.value === value)) return;
  const entry = document.createElement("li");
  entry.className = "picked";
  const input = Object.assign(document.createElement("input"), { type: "hidden", name, value });
  const label = Object.assign(document.createElement("span"), { textContent: text });
  const remove = Object.assign(document.createElement("button"), { type: "button", className: "remove", textContent: "×" });
  remove.setAttribute("aria-label", `Remove ${text}`);
  entry.append(input, label, remove);
  list.append(entry);
  announce(`${text} added`);
}

// --- one listener each for elements that come and go ---------------------------------

document.addEventListener("click", async (event) => {
  const remove = event.target.closest(".remove");
  if (remove) {
    const list = remove.closest("ul");
    announce(`${remove.previousElementSibling.textContent} removed`);
    remove.closest("li").remove();
    document.getElementById(list.id.replace("chosen-", ""))?.focus();
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const text = copy.dataset.copy === "link" ? location.href : document.querySelector(copy.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      announce("Copied");
      copy.dataset.done = "copied";
      setTimeout(() => delete copy.dataset.done, 1500);
    } catch { announce("The browser does not allow copying"); }
  }
  if (event.target.closest("[data-stop]")) running?.abort("stop");
  if (event.target.closest("#theme")) {
    const now = document.documentElement.dataset.theme ?? "";
    colour(themes[(themes.indexOf(now) + 1) % themes.length]);
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  if (event.target.matches("[data-origin]")) {
    for (const mark of document.querySelectorAll(`mark[data-name="${CSS.escape(event.target.dataset.origin)}"]`)) {
      mark.classList.toggle("off", !event.target.checked);
    }
  }
});

// --- tooltips: the style sheet shows them on hover and focus; Escape hides one, and none leaves the page -----

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelectorAll(".tipped:hover, .tipped:focus-within").forEach((tipped) => tipped.classList.add("dismissed"));
});
for (const type of ["focusout", "pointerout"]) {
  document.addEventListener(type, (event) => event.target.closest?.(".tipped")?.classList.remove("dismissed"));
}
for (const type of ["focusin", "pointerover"]) {
  document.addEventListener(type, (event) => {
    const tipped = event.target.closest?.(".tipped");
    if (!tipped) return;
    tipped.classList.remove("turned");
    const width = document.documentElement.clientWidth;
    tipped.classList.toggle("turned", tipped.querySelector(".tip").getBoundingClientRect().right > width);
  });
}

// --- a form is busy until it is answered -----------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-compares]")) {
    event.preventDefault();
    compare(event.target);
  } else {
    event.target.setAttribute("aria-busy", "true");
    if (event.target.matches("[method=get]")) announce("Loading …");
  }
});
document.addEventListener("htmx:afterRequest", (event) => event.target.removeAttribute?.("aria-busy"));
window.addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach((form) => form.removeAttribute("aria-busy")));

// --- colours ------------------------------------------------------------------------------------------------------

const themes = ["", "light", "dark"];

function colour(theme) {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  const button = document.getElementById("theme");
  button.textContent = { "": "◐", light: "○", dark: "●" }[theme];
  button.setAttribute("aria-label", `Colours: ${theme || "system"}`);
  try { theme ? localStorage.setItem("theme", theme) : localStorage.removeItem("theme"); } catch { /* no storage */ }
}

colour(document.documentElement.dataset.theme ?? "");

htmx.onLoad((element) => {
  const all = (selector) => [...(element.matches?.(selector) ? [element] : []), ...element.querySelectorAll(selector)];
  all("[data-combo]").forEach(combobox);
  all("[data-stream]").forEach(listen);
});
