// The condition under `where`, with completion and with its mistakes while it is typed. Return {box, set(text), show(),
// close()}.

function whereBox(model, kernel, getView, change) {
  const list = h('ul', { role: 'listbox', class: 'aadsl-completions', hidden: true });
  const said = h('pre', { class: 'aadsl-mistake', role: 'alert', hidden: true });
  const input = h('input', {
    type: 'text', spellcheck: 'false', autocomplete: 'off', role: 'combobox', 'aria-expanded': 'false',
    'aria-label': 'condition on the steps', placeholder: 'a condition, such as  lr < 0.01 and epoch == 2'
  });
  input.value = getView().where;
  let offered = [], current = -1, start = 0, asked = 0;

  function hide() {
    list.hidden = true;
    offered = [];
    input.setAttribute('aria-expanded', 'false');
  }
  function take(k) {
    const rest = input.value.slice(input.selectionStart);
    const before = input.value.slice(0, start) + offered[k].text;
    input.value = before + rest;
    input.setSelectionRange(before.length, before.length);
    hide();
    check();
    input.focus();
  }
  function mark(k) {
    current = (k + offered.length) % offered.length;
    [...list.children].forEach((item, i) => item.setAttribute('aria-selected', String(i === current)));
    list.children[current].scrollIntoView({ block: 'nearest' });
  }
  const ask = () => send(model, { kind: 'complete', id: ++asked, text: input.value, cursor: input.selectionStart });
  const check = debounced(80, () => change(input.value));

  input.addEventListener('input', () => {
    hide(); // it was offered for other text; a slow kernel lets one press Enter before it offers anew
    check();
    ask();
  });
  input.addEventListener('keydown', event => {
    if (list.hidden) {
      if (event.key === 'Tab' || !(event.ctrlKey && event.key === ' ')) return;
      ask();
    } else if (event.key === 'ArrowDown') mark(current + 1);
    else if (event.key === 'ArrowUp') mark(current - 1);
    else if (event.key === 'Enter' || event.key === 'Tab') take(Math.max(current, 0));
    else if (event.key === 'Escape') hide();
    else return;
    event.preventDefault();
  });
  input.addEventListener('blur', () => setTimeout(hide, 200));
  function offer(message) {
    if (message.kind !== 'completions' || message.id !== asked || document.activeElement !== input) return;
    ({ items: offered, start } = message);
    fill(list, ...offered.map((item, k) => h('li', { role: 'option', onpointerdown: event => (event.preventDefault(), take(k)) },
      h('span', {}, item.text), h('small', {}, item.kind))));
    list.hidden = !offered.length;
    input.setAttribute('aria-expanded', String(!list.hidden));
    if (offered.length) mark(0);
  }
  function show() {
    const { mistake = '', text } = model.get('where') || {};
    const shown = text === input.value.trim() ? mistake : '';
    said.textContent = shown;
    said.hidden = !shown;
    input.setAttribute('aria-invalid', String(Boolean(shown)));
    input.disabled = !kernel.alive();
    input.title = input.disabled ? AGAIN : '';
  }
  function set(text) {
    if (input.value.trim() !== text) input.value = text;
    show();
  }
  model.on('msg:custom', offer);
  model.on('change:where', show);
  show();
  const box = h('div', { class: 'aadsl-where' }, h('div', { class: 'aadsl-field' }, h('label', {}, 'where ', input), list), said);
  const close = () => {
    model.off('msg:custom', offer);
    model.off('change:where', show);
  };
  return { box, set, show, close };
}
