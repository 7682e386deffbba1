// What HTML and htmx do not do: streaming into cards, comboboxes, colours, copying. No text is ever run.
"use strict";

const say = (text) => { document.getElementById("status").textContent = text; };

// --- the stream of an answer ---------------------------------------------------------

let stream = null;

function listen(answer) {
  stream?.close();
  const source = stream = new EventSource(answer.dataset.stream);
  delete answer.dataset.stream;
  const put = (element, html) => {
    const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...element.querySelectorAll("details[open]")].map((one) => one.closest("[id]")?.id);
    element.innerHTML = html;
    htmx.process(element);
    for (const id of open) document.getElementById(id)?.querySelector("details")?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };
  const end = (text) => {
    source.close();
    answer.removeAttribute("aria-busy");
    say(text);
  };
  source.addEventListener("ranked", (event) => {
    put(answer, event.data);
    say("Ranked. The reasons are being written.");
  });
  source.addEventListener("reason", (event) => {
    const [rank, ...lines] = event.data.split("\n");
    const place = document.getElementById(`reason-${rank}`);
    if (place) put(place, lines.join("\n"));
  });
  source.addEventListener("done", (event) => {
    put(answer, event.data);
    end("The answer is complete.");
  });
  source.addEventListener("failed", (event) => {
    put(answer, event.data);
    end("The request failed.");
  });
  source.onerror = () => {
    const box = document.createElement("div");
    box.className = "failure";
    box.setAttribute("role", "alert");
    box.textContent = "The connection was lost. Ask again.";
    if (answer.querySelector(".waiting")) answer.replaceChildren(box); else answer.prepend(box);
    end("The connection was lost.");
  };
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
    all.forEach((option, at) => option.setAttribute("aria-selected", String(at === active)));
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
  say(`${text} added`);
}

// --- one listener each for what may come and go --------------------------------------

document.addEventListener("click", async (event) => {
  const remove = event.target.closest(".remove");
  if (remove) {
    const list = remove.closest("ul");
    say(`${remove.previousElementSibling.textContent} removed`);
    remove.closest("li").remove();
    document.getElementById(list.id.replace("chosen-", ""))?.focus();
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const text = copy.dataset.copy === "link" ? location.href : document.querySelector(copy.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
      copy.dataset.done = "copied";
      setTimeout(() => delete copy.dataset.done, 1500);
    } catch { say("The browser did not allow copying"); }
  }
  const carries = event.target.closest("a[data-carries]");
  const ask = document.getElementById("ask");
  if (carries && ask) {
    const address = new URL(carries.href);
    for (const [name, value] of new FormData(ask)) {
      if (["liked", "disliked", "at", "place", "wish"].includes(name) && value) address.searchParams.append(name, value);
    }
    carries.href = address;
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  if (event.target.matches("[data-origin]")) {
    for (const one of document.querySelectorAll(`mark[data-name="${CSS.escape(event.target.dataset.origin)}"]`)) {
      one.classList.toggle("off", !event.target.checked);
    }
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.activeElement?.closest(".chips li")?.classList.add("dismissed");
});
document.addEventListener("focusout", (event) => event.target.closest?.(".chips li")?.classList.remove("dismissed"));

// The button of a form that was just sent cannot be sent again before the answer is there.
document.addEventListener("htmx:beforeRequest", (event) => event.target.matches?.("form") && event.target.setAttribute("aria-busy", "true"));
document.addEventListener("htmx:afterRequest", (event) => event.target.removeAttribute?.("aria-busy"));

// --- colours ---------------------------------------------------------------------------

const themes = ["", "light", "dark"];
const themeButton = document.getElementById("theme");

function colour(theme) {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  themeButton.textContent = { "": "◐", light: "○", dark: "●" }[theme];
  themeButton.setAttribute("aria-label", `Colours: ${theme || "as the system"}`);
  try { theme ? localStorage.setItem("theme", theme) : localStorage.removeItem("theme"); } catch { /* not kept */ }
}

themeButton.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "";
  colour(themes[(themes.indexOf(now) + 1) % themes.length]);
});
colour(document.documentElement.dataset.theme ?? "");

htmx.onLoad((element) => {
  const all = (selector) => [...(element.matches?.(selector) ? [element] : []), ...element.querySelectorAll(selector)];
  all("[data-combo]").forEach(combobox);
  all("[data-stream]").forEach(listen);
});
