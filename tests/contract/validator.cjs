// JSON Schema 2020-12 as ajv has it, for tests/contract/document.py: asked and answered in lines
// of JSON on standard input and output.
//
//   node validator.cjs MODULES DOCUMENT
//   {"at": "/components/schemas/Run", "value": ...}  ->  {"errors": ["/status/phase must be ..."]}
//
// `at` is a JSON pointer into the document. A schema that cannot be compiled is an error too.
'use strict';
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { createRequire } = require('module');

const [modules, documentPath] = process.argv.slice(2);
const load = createRequire(path.join(path.resolve(modules), 'here.cjs'));
const Ajv = load('ajv/dist/2020').default;
const addFormats = load('ajv-formats').default;

const ajv = new Ajv({
  allErrors: true,
  strict: true,
  strictRequired: false, // `required` beside `not` and `anyOf` names fields of elsewhere
  strictTypes: false,
  allowUnionTypes: true,
});
addFormats(ajv);
const document = JSON.parse(fs.readFileSync(documentPath, 'utf8'));

// The named schemas become one schema with definitions, so that what is around them in OpenAPI is
// not taken for keywords.
const NAMED = '#/components/schemas/';
function standing(node) {
  if (Array.isArray(node)) return node.map(standing);
  if (node === null || typeof node !== 'object') return node;
  const out = {};
  for (const [key, value] of Object.entries(node)) {
    const named = key === '$ref' && typeof value === 'string' && value.startsWith(NAMED);
    out[key] = named ? `named#/$defs/${value.slice(NAMED.length)}` : standing(value);
  }
  return out;
}
ajv.addSchema({ $id: 'named', $defs: standing(document.components.schemas) });

function schemaAt(pointer) {
  let node = document;
  for (const step of pointer.split('/').slice(1)) {
    node = node[step.replaceAll('~1', '/').replaceAll('~0', '~')];
  }
  return standing(node);
}

const compiled = new Map();
function check({ at, value }) {
  if (!compiled.has(at)) compiled.set(at, ajv.compile(schemaAt(at)));
  const validate = compiled.get(at);
  if (validate(value)) return [];
  return validate.errors.slice(0, 20).map(
    (e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  let errors;
  try {
    errors = check(JSON.parse(line));
  } catch (error) {
    errors = [String(error && error.message)];
  }
  process.stdout.write(JSON.stringify({ errors }) + '\n');
});
