// The name of a new stage, and what becomes of it: the statement, copied, or a cell that asks for its effect. A name is
// checked by the language's own grammar, in the kernel, before anything is made of it.

function namingBox(model, kernel, data, view, sent) {
  const statement = h('code', { class: 'aadsl-statement' });
  const said = h('span', { class: 'aadsl-said', role: 'status' });
  const mistake = h('pre', { class: 'aadsl-mistake', role: 'alert', hidden: true });
  const input = h('input', {
    type: 'text', size: '10', 'aria-label': 'name of the stage', spellcheck: 'false',
    oninput: event => {
      view.name = event.target.value;
      send(model, { kind: 'name', text: view.name });
      show();
      sent();
    }
  });
  input.value = view.name;
  const sentence = () => `stage ${view.name.trim()} = ${selectionText(data, view)}`;
  const copying = h('button', { onclick: () => copy(sentence()).then(() => tell('copied')) }, 'Copy');
  const inserting = h('button', { onclick: () => send(model, { kind: 'program', id: ++asked, view: structuredClone(view) }) }, 'New cell');
  const row = h('div', { class: 'aadsl-bar' }, h('label', {}, 'name ', input), statement, copying, inserting, said);
  const box = h('div', {}, row, mistake);
  let asked = 0, timer;

  function tell(words) {
    said.textContent = words;
    clearTimeout(timer);
    timer = setTimeout(() => (said.textContent = ''), 3000);
  }
  function insert(message) {
    if (message.kind !== 'program' || message.id !== asked) return;
    const source = `%%aascore\n${message.text}`;
    if (message.mistake) tell(message.mistake);
    else if (insertCell(model.widget_manager, box, source)) tell('new cell below');
    else copy(source).then(() => tell('copied: paste it into a new cell'));
  }
  function show() {
    const selection = selectionOf(data, model, view), checked = model.get('name') || {}, where = model.get('where') || {};
    const wrong = checked.text === view.name ? checked.mistake : '';
    statement.textContent = selection.empty ? 'nothing is selected: drag over the steps, or click one' : sentence();
    mistake.textContent = wrong || '';
    mistake.hidden = !wrong;
    input.setAttribute('aria-invalid', String(Boolean(wrong)));
    input.disabled = !kernel.alive();
    const mistaken = where.mistake && where.text === view.where.trim();
    copying.disabled = selection.empty || !selection.known || Boolean(mistaken) || checked.text !== view.name || Boolean(wrong);
    inserting.disabled = copying.disabled || !kernel.alive();
    inserting.title = input.title = kernel.alive() ? '' : AGAIN;
  }
  model.on('change:name', show);
  model.on('msg:custom', insert);
  const close = () => {
    model.off('change:name', show);
    model.off('msg:custom', insert);
  };
  return { box, show, close };
}
