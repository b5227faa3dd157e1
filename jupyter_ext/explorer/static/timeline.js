// The timeline of one behavior on a canvas: bars of effects, the selection, the axis.

const PALE = 0.4; // bars of low trust

class Timeline extends StepCanvas {
  constructor(canvas, data, behavior, squeezed) {
    super(canvas, data, data.effects[behavior], MARGIN, squeezed);
    this.behavior = behavior;
  }

  draw(view, selection, color) {
    const begun = this.begin(view);
    if (!begun) return;
    const { pen, ink, soft, mark } = begun;
    this.valuesAxis(pen, ink, soft, 4);
    this.stepsAxis(pen, ink);
    const partial = !selection.empty && (selection.start > 0 || selection.stop < this.data.length || selection.mask);
    if (view.start < view.stop) this.band(pen, view.start, view.stop, mark, 0.16);
    const bar = Math.max(this.scale.inner / (view.to - view.from) * 0.8, 1);
    const bottom = this.y(0), doubted = this.data.behaviors[this.behavior].trust === 'low';
    for (const t of this.steps) {
      const value = this.values[t];
      if (value !== value) continue;
      const inside = t >= selection.start && t < selection.stop && (!selection.mask || selection.mask[t]);
      const full = partial && !inside ? 0.4 : 1, left = this.x(t + 0.5) - bar / 2, top = this.y(value);
      pen.globalAlpha = full * (doubted ? PALE : 1);
      pen.fillStyle = color(t);
      pen.fillRect(left, Math.min(top, bottom), bar, Math.max(Math.abs(bottom - top), 0.5));
      pen.globalAlpha = full;
      if (doubted) pen.fillRect(left, top - 1, bar, 2); // so that a pale bar can still be read
    }
    pen.globalAlpha = 1;
    this.line(pen, soft, this.margin.left, bottom, this.margin.left + this.scale.inner, bottom);
    for (const kept of view.kept) this.bracket(pen, kept, ink);
  }

  bracket(pen, kept, ink) {
    const seen = kept.start < kept.stop && this.stretch(kept.start, kept.stop);
    if (!seen) return;
    this.line(pen, ink, seen[0], this.margin.top - 4, seen[1], this.margin.top - 4);
    pen.fillStyle = ink;
    pen.textAlign = 'left';
    pen.textBaseline = 'bottom';
    pen.fillText(kept.letter, seen[0], this.margin.top - 5);
  }
}
