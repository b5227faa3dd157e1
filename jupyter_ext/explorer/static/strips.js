// What goes on beside the effects, over the same steps: loss and learning rate; and the whole run, with the window on it.

const STRIP = { ...MARGIN, top: 5, bottom: 5 };
const RECORDED = /^(loss|lr)(_\d+)?$/;
const WORDS = { loss: 'loss', lr: 'learning rate' };
const MOST_STRIPS = 4;

function stripsOf(data) {
  const columns = data.columns.filter(({ name, categories }) => !categories && RECORDED.test(name)).slice(0, MOST_STRIPS);
  return columns.map(column => {
    const [, kind, group = ''] = column.name.match(RECORDED);
    const said = WORDS[kind] + group.replace('_', ' ');
    const canvas = h('canvas', { class: 'aadsl-strip', tabindex: '0', role: 'img', 'aria-label': `${said} of the steps` });
    return { figure: h('figure', {}, h('figcaption', {}, said), canvas), strip: new Strip(canvas, data, column.values, kind === 'lr') };
  });
}

class Strip extends StepCanvas {
  constructor(canvas, data, values, stepped) {
    super(canvas, data, values, STRIP);
    this.stepped = stepped; // a learning rate holds until the next step
  }

  bounds() {
    let low = Infinity, high = -Infinity;
    for (const t of this.steps) {
      if (this.values[t] < low) low = this.values[t];
      if (this.values[t] > high) high = this.values[t];
    }
    if (low > high) [low, high] = [0, 1];
    const pad = (high - low || Math.abs(high) || 1) * 0.08;
    return { low: low - pad, high: high + pad };
  }

  draw(view) {
    const begun = this.begin(view);
    if (!begun) return;
    const { pen, ink, soft, mark } = begun;
    this.valuesAxis(pen, ink, soft, 3);
    if (view.start < view.stop) this.band(pen, view.start, view.stop, mark, 0.16);
    if (this.ordered?.key !== this.key) {
      this.ordered = { key: this.key, steps: [...new Set(this.steps)].sort((a, b) => a - b) };
    }
    pen.strokeStyle = ink;
    pen.lineWidth = 1.2;
    pen.beginPath();
    let last = null;
    for (const t of this.ordered.steps) {
      const value = this.values[t];
      if (!Number.isFinite(value)) {
        last = null;
        continue;
      }
      const x = this.x(t + 0.5), y = this.y(value);
      if (last === null) pen.moveTo(x, y);
      else {
        if (this.stepped) pen.lineTo(x, last);
        pen.lineTo(x, y);
      }
      last = y;
    }
    pen.stroke();
  }
}

// The whole run in small, with the window that the others show; drag it along, or drag out another.
class Overview extends StepCanvas {
  constructor(data, zoom) {
    const canvas = h('canvas', { class: 'aadsl-overview', title: 'the whole run: drag the window, or drag out another; a double click shows all' });
    super(canvas, data, data.effects[0], { ...MARGIN, top: 2, bottom: 2 });
    this.drags(zoom);
  }

  drags(zoom) {
    const { canvas, data } = this;
    let drag = null;
    const at = event => this.stepAt(event.clientX - canvas.getBoundingClientRect().left);
    canvas.addEventListener('pointerdown', event => {
      const step = at(event), { from, to } = this.shown, whole = from === 0 && to === data.length;
      drag = !whole && step >= from && step < to ? { offset: step - from, width: to - from } : { fixed: step };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', event => {
      if (!drag) return;
      const step = at(event);
      if (drag.width) {
        const from = Math.min(Math.max(step - drag.offset, 0), data.length - drag.width);
        zoom(from, from + drag.width);
      } else if (step !== drag.fixed) zoom(Math.min(step, drag.fixed), Math.max(step, drag.fixed) + 1);
    });
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => (drag = null));
    canvas.addEventListener('dblclick', () => zoom(0, data.length));
  }

  draw(view, behavior) {
    this.shown = { from: view.from, to: view.to };
    const values = this.data.effects[behavior], squeezed = squeezedOf(this.data, view, behavior);
    if (this.values !== values || this.squeezed !== squeezed) Object.assign(this, { values, squeezed, key: '' });
    const begun = this.begin({ from: 0, to: this.data.length });
    if (!begun) return;
    const { pen, soft, mark } = begun, zero = this.y(0);
    pen.fillStyle = soft;
    const bar = Math.max(this.scale.inner / this.data.length * 0.8, 1);
    for (const t of this.steps) {
      const value = this.values[t], y = this.y(value);
      if (value === value) pen.fillRect(this.x(t + 0.5) - bar / 2, Math.min(y, zero), bar, Math.max(Math.abs(zero - y), 0.5));
    }
    if (view.start < view.stop) this.band(pen, view.start, view.stop, mark, 0.3);
    this.band(pen, view.from, view.to, soft, 0.15);
  }
}
