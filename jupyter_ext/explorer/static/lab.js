// What the explorer talks to JupyterLab itself for. Elsewhere it does nothing.

// Whether a kernel listens to this explorer; `changed` is called when that may have changed. Return {alive(), close()}.
function kernelOf(model, changed) {
  // The model of the layout comes and goes with ours, whose own word about that is not handed on to us.
  const layout = model.get('layout'), manager = model.widget_manager, session = manager?.context?.sessionContext;
  let lost = false, before = true;
  const alive = () => !lost && layout?.comm_live !== false && manager?.kernel !== null;
  const look = () => {
    if (alive() !== before) changed();
    before = alive();
  };
  const onStatus = (_, status) => {
    if (['restarting', 'autorestarting', 'terminating', 'dead'].includes(status)) lost = true;
    look();
  };
  layout?.on?.('comm_live_update', look);
  session?.statusChanged?.connect(onStatus);
  return {
    alive,
    close: () => {
      layout?.off?.('comm_live_update', look);
      session?.statusChanged?.disconnect(onStatus);
    }
  };
}

// Put a new cell with `source` below the cell of `node`; return whether that worked.
function insertCell(manager, node, source) {
  const notebook = manager?.context?.model?.sharedModel;
  const cell = node.closest('.jp-Cell');
  if (!notebook?.insertCell || !cell) return false;
  const listed = cell.closest('[data-windowed-list-index]') || cell;
  const place = listed.dataset.windowedListIndex ?? [...cell.parentElement.children].indexOf(cell);
  notebook.insertCell(Number(place) + 1, { cell_type: 'code', source, metadata: {}, outputs: [], execution_count: null });
  return true;
}

// Hide the picture below a live explorer; it is there for pages and notebooks in which no explorer runs.
function hideStill(node) {
  node.closest('.jp-OutputArea-child')?.classList.add('aadsl-explorer-live');
}

// JupyterLab saves no widgets by itself. Save ours, so that the notebook shows them again when it is reopened, and drop
// those that no output shows any more.
function keepWhenSaved(manager, marker) {
  const context = manager?.context;
  if (!context?.saveState?.connect || !context.model?.setMetadata || context.aadslKeepsExplorers) return;
  context.aadslKeepsExplorers = true;
  const mime = 'application/vnd.jupyter.widget-state+json';
  context.saveState.connect((_, phase) => {
    if (phase !== 'started' || context.isDisposed) return;
    const before = context.model.getMetadata('widgets')?.[mime]?.state ?? {};
    const live = manager.get_state_sync({ drop_defaults: true }).state;
    const ours = Object.entries({ ...before, ...live }).filter(([, { state }]) => state._made_by === marker);
    if (!ours.length) return;
    const shown = shownWidgets(context.model);
    const state = { ...before };
    for (const [id, { state: own }] of ours) {
      for (const part of [id, String(own.layout).replace('IPY_MODEL_', '')]) {
        if (!shown.has(id)) delete state[part];
        else if (live[part]) state[part] = live[part];
      }
    }
    context.model.setMetadata('widgets', { [mime]: { version_major: 2, version_minor: 0, state } });
  });
}

// The numbers of the widgets in a notebook's outputs.
function shownWidgets(notebook) {
  const outputs = notebook.toJSON().cells.flatMap(cell => cell.outputs ?? []);
  return new Set(outputs.map(output => output.data?.['application/vnd.jupyter.widget-view+json']?.model_id));
}
