// What is selected: a brush, a picked stage and a condition; as a mask over the steps, and in the words of the language.

// Return {start, stop, mask, known, empty}: the steps start ≤ step < stop for which `mask` (bytes, one a step; null: all)
// is not zero. Not `known` where only a kernel can tell for which steps the condition holds, and none has told yet.
function selectionOf(data, model, view) {
  const brushed = view.start < view.stop;
  const stage = stageMask(data, view.stage), where = conditionMask(data, model, view.where.trim());
  const empty = !brushed && !stage && where === null;
  const [start, stop] = brushed ? [view.start, view.stop] : [0, empty ? 0 : data.length];
  return { start, stop, empty, known: where !== undefined, mask: both(stage, where ?? null) };
}

function both(one, other) {
  return one && other ? one.map((inside, t) => inside && other[t]) : one || other;
}

function stageMask(data, name) {
  const stage = data.byStage.get(name);
  if (!stage) return null;
  if (!stage.mask) {
    const bits = data.members.subarray(stage.k * Math.ceil(data.length / 8));
    stage.mask = Uint8Array.from({ length: data.length }, (_, t) => (bits[t >> 3] >> (t & 7)) & 1);
  }
  return stage.mask;
}

// Return null for no condition, undefined where it is not known for which steps it holds.
function conditionMask(data, model, text) {
  if (!text) return null;
  const local = data.byCondition.get(text);
  if (local) return (local.mask ??= Uint8Array.from(local.column.values, code => Number(code === local.code)));
  const mask = model.get('mask');
  return model.get('where')?.text === text && mask?.byteLength === data.length ? u8(mask) : undefined;
}

function chosenSteps(selection) {
  const steps = [];
  for (let t = selection.start; t < selection.stop; t++) if (!selection.mask || selection.mask[t]) steps.push(t);
  return steps;
}

function countSteps({ start, stop, mask }) {
  if (!mask) return stop - start;
  let count = 0;
  for (let t = start; t < stop; t++) if (mask[t]) count += 1;
  return count;
}

// The selection in the words of the language, nothing where nothing is selected; the kernel writes the same text.
function selectionText(data, view) {
  const condition = view.where.trim(), picked = data.byStage.get(view.stage)?.text;
  const brushed = view.start < view.stop;
  if (!brushed && !condition && !picked) return '';
  const whole = !brushed || (view.start <= 0 && view.stop >= data.length);
  const steps = whole ? 'steps' : `steps[${view.start}:${view.stop}]`;
  const joined = `${picked} and ${steps}`;
  const subject = !picked ? steps : whole ? picked : condition ? `(${joined})` : joined;
  return condition ? `${subject} where ${condition}` : subject;
}
