// Small helpers around the document.

const LISTENING = new WeakSet(); // the elements that h() made to do something

function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) {
      node.addEventListener(name.slice(2), value);
      LISTENING.add(node);
    } else if (name in node && typeof value !== 'string') node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

// A text of whatever length as it is shown: names often differ at their ends.
function short(text, most = 60) {
  return text.length > most ? `${text.slice(0, most / 2)}…${text.slice(-most / 2)}` : text;
}

// Put `children` in the place of what is in `node`. What looks as before stays: a redraw between the press and the release
// of a button would swallow the click, and take the focus from who walks by keys.
function fill(node, ...children) {
  const before = [...node.childNodes];
  const now = children.filter(child => child !== null && child !== undefined);
  before.slice(now.length).forEach(old => old.remove());
  for (const [k, child] of now.entries()) {
    const fresh = child instanceof Node ? child : document.createTextNode(child);
    if (k >= before.length) node.append(fresh);
    else if (!before[k].isEqualNode(fresh)) exchange(before[k], fresh);
  }
}

function exchange(old, fresh) {
  if (fresh.nodeName === old.nodeName && fresh instanceof Element && !LISTENING.has(old) && !LISTENING.has(fresh)) {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
    return fill(old, ...fresh.childNodes);
  }
  const focused = old === document.activeElement;
  old.replaceWith(fresh);
  if (focused && fresh.nodeName === old.nodeName) fresh.focus({ preventScroll: true });
}

function table(header, rows) {
  const head = h('thead', {}, h('tr', {}, ...header.map(cell => (cell instanceof Node ? cell : h('th', { scope: 'col' }, cell)))));
  return h('table', {}, head, h('tbody', {}, ...rows.map(row => h('tr', {}, ...row.map(cell => (cell instanceof Node ? cell : h('td', {}, cell)))))));
}

// `action`, put off until it was not asked for during `wait` milliseconds; what was given last counts.
function debounced(wait, action) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), wait);
  };
}

// Keys that are pressed inside of `node` are meant for it alone: JupyterLab would cut the cell at an x.
function keepKeys(node) {
  node.setAttribute('data-lm-suppress-shortcuts', 'true');
  for (const kind of ['keydown', 'keypress', 'keyup']) node.addEventListener(kind, event => event.stopPropagation());
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h('textarea', {});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}
