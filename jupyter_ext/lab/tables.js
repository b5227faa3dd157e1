// Tables of answers: a click on the head of a column sorts the rows, a field above many of them picks some by their text.

import './tables.css';

const OURS = 'table.aadsl-table';
const MANY = 8; // rows, from which on there is a field to pick some
const MARKS = ['○', '◐', '●']; // of trust, from low to high
const equipped = new WeakSet();

// Equip the tables that are in `root`, and those that come later.
export function sortable(root) {
  const equipAll = node => {
    if (node.matches?.(OURS)) equip(node);
    node.querySelectorAll?.(OURS).forEach(equip);
  };
  equipAll(root);
  const seen = changes => changes.forEach(({ addedNodes }) => addedNodes.forEach(equipAll));
  new MutationObserver(seen).observe(root, { childList: true, subtree: true });
}

// JupyterLab takes outputs out of the page and puts them back as they are: they are equipped once.
function equip(table) {
  const rows = [...(table.tBodies[0]?.rows ?? [])];
  if (equipped.has(table) || rows.length < 2) return;
  equipped.add(table);
  const heads = columnHeads(table);
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return; // the numbers that pandas gives to rows
    const button = Object.assign(document.createElement('button'), { type: 'button', className: 'aadsl-sort' });
    button.append(...head.childNodes);
    button.onclick = () => sort(table, rows, heads, column);
    head.append(button);
  });
  if (rows.length > MANY) heads[0].append(...picker(rows));
  // Keys that are pressed here are meant for it alone: JupyterLab would edit the cell at Enter.
  table.tHead.setAttribute('data-lm-suppress-shortcuts', 'true');
  table.tHead.addEventListener('keydown', event => event.stopPropagation());
}

// The cells at the lower edge of the head, from left to right; one that spans columns is not among them.
function columnHeads(table) {
  const [first, ...below] = [...table.tHead.rows];
  return below.length ? [...[...first.cells].filter(cell => cell.rowSpan > 1), ...below.at(-1).cells] : [...first.cells];
}

// Numbers begin with the largest, words with the first; the second click turns that, the third gives the rows back as they came.
function sort(table, rows, heads, column) {
  const values = rows.map(row => valueOf(row.cells[column]));
  const numbers = values.every(value => value === '' || typeof value === 'number');
  const orders = numbers ? ['descending', 'ascending', ''] : ['ascending', 'descending', ''];
  const order = orders[orders.indexOf(heads[column].getAttribute('aria-sort') ?? '') + 1] ?? orders[0];
  heads.forEach(head => head.removeAttribute('aria-sort'));
  if (order) heads[column].setAttribute('aria-sort', order);
  const sign = order === 'descending' ? -1 : 1;
  const compare = (a, b) => (numbers ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
  const places = rows.map((_, k) => k);
  // What has no value comes last, whichever way; of equal values the one that came first.
  const between = (a, b) => (values[a] === '') - (values[b] === '') || sign * compare(values[a], values[b]);
  if (order) places.sort(between);
  table.tBodies[0].append(...places.map(k => rows[k]));
}

// What a cell is sorted by: of an interval its lower end, of a name its full length.
function valueOf(cell) {
  const text = cell.textContent.trim();
  if (cell.tagName === 'TH') return cell.title || text;
  if (MARKS.includes(text)) return MARKS.indexOf(text);
  const number = parseFloat(text.replace(/^≈ /, '').replaceAll('−', '-').replaceAll(',', ''));
  return number === number ? number : text;
}

function picker(rows) {
  const field = Object.assign(document.createElement('input'), { type: 'search', placeholder: 'filter', className: 'aadsl-filter' });
  field.setAttribute('aria-label', 'show the rows that have this text');
  const count = Object.assign(document.createElement('span'), { className: 'aadsl-found', role: 'status' });
  field.oninput = () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !`${row.cells[0].title} ${row.textContent}`.toLowerCase().includes(wanted);
    count.textContent = wanted ? `${rows.filter(row => !row.hidden).length} of ${rows.length}` : '';
  };
  return [field, count];
}
