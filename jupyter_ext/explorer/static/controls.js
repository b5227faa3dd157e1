// The controls: which behaviors and colors are shown, which stage and steps are selected.

const EDGES = ['start', 'stop'];

function controlsOf(data, view, { pick, select, zoom, rebuild, keep }) {
  const shown = data.behaviors.map(({ name }) => h('label', {}, h('input', {
    type: 'checkbox', checked: view.behaviors.includes(name),
    onchange: event => {
      const on = new Set(view.behaviors);
      if (event.target.checked) on.add(name);
      else if (on.size > 1) on.delete(name);
      else event.target.checked = true;
      view.behaviors = data.behaviors.map(b => b.name).filter(known => on.has(known));
      rebuild();
    }
  }), short(name, LABEL)));
  const colors = h('select', { 'aria-label': 'color the steps by', onchange: event => {
    view.color = event.target.value;
    rebuild();
  } }, ...data.columns.map(column => h('option', { value: column.name, selected: column.name === view.color }, short(column.name, LABEL))));
  const stages = h('select', { 'aria-label': 'select the steps of a stage', onchange: event => pick({ stage: event.target.value }) },
    h('option', { value: '' }, 'any'), ...data.stages.map(({ name }) => h('option', { value: name }, short(name, LABEL))));
  const range = EDGES.map(edge => h('input', {
    type: 'number', min: '0', max: String(data.length), 'aria-label': `${edge} of the selection`,
    onchange: event => {
      const value = Math.min(Math.max(Math.round(Number(event.target.value)) || 0, 0), data.length);
      const first = Math.min(value, data.length - 1), last = Math.max(value, 1);
      if (edge === 'start') select(first, Math.max(view.stop, first + 1));
      else select(Math.min(view.start, last - 1), last);
      event.target.value = view[edge];
    }
  }));
  const giveUp = () => {
    Object.assign(view, { start: 0, stop: 0 });
    pick({ stage: '', where: '' });
  };
  const buttons = [
    h('button', { onclick: () => zoom(view.start, view.stop) }, 'Zoom in'),
    h('button', { onclick: () => zoom(0, data.length) }, 'Whole run'),
    h('button', { onclick: () => select(0, data.length) }, 'Select all'),
    h('button', { onclick: giveUp }, 'Select nothing'),
    h('button', { onclick: keep }, 'Keep to compare')
  ];

  const linear = h('input', { type: 'checkbox', checked: Boolean(view.linear), onchange: event => {
    view.linear = event.target.checked;
    rebuild();
  } });

  function show() {
    const brushed = view.start < view.stop;
    for (const [k, edge] of EDGES.entries()) {
      if (range[k] !== document.activeElement) range[k].value = brushed ? view[edge] : ''; // never over what is being typed
    }
    stages.value = view.stage;
    buttons[0].disabled = !brushed;
  }
  const top = h('div', { class: 'aadsl-bar' }, h('fieldset', {}, h('legend', {}, 'behaviors'), ...shown),
    h('label', {}, 'color by ', colors), data.stages.length ? h('label', {}, 'stage ', stages) : null,
    data.behaviors.some(({ squeezed }) => squeezed) ? h('label', {}, linear, 'even axis') : null);
  return { top, range: [h('label', {}, 'steps ', range[0]), h('label', {}, 'to ', range[1])], buttons, show };
}
