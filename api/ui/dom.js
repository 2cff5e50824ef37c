// Elements. Whatever comes from outside goes in as text: nothing in this page reads markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined &&
                                                          child !== false));
  return node;
}

// el("a", {href: "#/", class: "x", on: {click: f}}, "text", another)
export function el(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

// Only what has changed is written: a screen reader and a selection notice every change.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

let spoken = 0;

// For those who do not see the page change. Said once more when it is the same as before.
export function announce(text) {
  spoken += 1;
  byId("announcer").textContent = text + (spoken % 2 ? "" : "\u00a0");
}

// The clipboard is only there on https and localhost; else the text is selected, to be copied by
// hand.
export function copyButton(text, source) {
  const button = el("button", {type: "button", class: "button small"}, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
  return button;
}

// Whether the person agrees. Escape and Back say no; focus goes back to where it was.
export function ask(title, text, yes) {
  const dialog = byId("question");
  setText(byId("question-title"), title);
  setText(byId("question-text"), text);
  setText(byId("question-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  byId("question-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), {once: true});
  });
}
