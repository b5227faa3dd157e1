// Colors for `%%aascore` cells, before and without running them, and for `.aascore` files; tables that sort.

import { IEditorExtensionRegistry, IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { LanguageSupport, StreamLanguage } from '@codemirror/language';
import { Compartment, EditorState, Prec } from '@codemirror/state';
import { tokens } from './language.js';
import { sortable } from './tables.js';

const language = StreamLanguage.define(tokens);
const isOurs = text => /^\s*%%aascore\b/.test(text);

// A cell's own language is Python. While its first line says otherwise, ours takes precedence.
function highlightOwnCells(model) {
  const compartment = new Compartment();
  const colors = ours => (ours ? Prec.highest(language) : []);
  let ours = isOurs(model.sharedModel.getSource());
  return [
    compartment.of(colors(ours)),
    EditorState.transactionExtender.of(transaction => {
      if (!transaction.docChanged) return null;
      const now = isOurs(transaction.newDoc.sliceString(0, 200));
      if (now === ours) return null;
      ours = now;
      return { effects: compartment.reconfigure(colors(now)) };
    })
  ];
}

const highlighting = {
  id: 'aadsl:highlighting',
  description: 'Highlights %%aascore cells and .aascore files.',
  autoStart: true,
  requires: [IEditorLanguageRegistry, IEditorExtensionRegistry],
  activate: (app, languages, extensions) => {
    languages.addLanguage({
      name: 'aascore',
      displayName: 'AA-Score',
      mime: 'text/x-aascore',
      extensions: ['aascore'],
      support: new LanguageSupport(language)
    });
    app.docRegistry.addFileType({
      name: 'aascore',
      displayName: 'AA-Score program',
      extensions: ['.aascore'],
      mimeTypes: ['text/x-aascore']
    });
    extensions.addExtension({
      name: 'aadsl:cells',
      factory: ({ model }) => ({
        instance: () => highlightOwnCells(model),
        reconfigure: () => null
      })
    });
  }
};

const tables = {
  id: 'aadsl:tables',
  description: 'Sorts and filters the tables of answers.',
  autoStart: true,
  activate: () => sortable(document.body)
};

export default [highlighting, tables];
