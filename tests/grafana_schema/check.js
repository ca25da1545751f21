// check.js DASHBOARD.json...: holds dashboards against the types that Grafana publishes, which
// dashboard.ts puts together.
//
// Each file becomes a constant of the type `Dashboard`, and TypeScript's compiler judges it: in a
// literal it also refuses what the type does not know, so that a misspelt option is found. What
// it says of types is then said of the file: where, what is there, what may be there.

const fs = require('node:fs');
const path = require('node:path');
const ts = require('typescript');
const { version } = require('@grafana/schema/package.json');

// Made on purpose, each alone, in a dashboard with one panel of each kind: a check that finds
// nothing may have found that all is well, or may look at nothing. A path within a panel begins
// with its kind; nothing as the value takes away what is there.
const MISTAKES = [
  ['id', 7],
  ['__inputs', []],
  ['schemaVersion'],
  ['refresh', 5],
  ['links.0.type', 'dashboard'],
  ['annotations.list.0.target.expr'],
  ['templating.list.0.query', 'graphite'],
  ['templating.list.1.type', 'querry'],
  ['templating.list.1.sort', 99],
  ['timeseries.options.legnd', {}],
  ['timeseries.options.legend.displayMode', 'tabel'],
  ['timeseries.options.tooltip'],
  ['timeseries.fieldConfig.defaults.unit', 5],
  ['timeseries.fieldConfig.defaults.color.mode', 'rainbow'],
  ['timeseries.fieldConfig.defaults.thresholds.steps.0.value', '1'],
  ['timeseries.fieldConfig.defaults.custom.drawStyle', 'lines'],
  ['timeseries.fieldConfig.overrides.0.properties.0.id', 'custom.lineWith'],
  ['timeseries.fieldConfig.overrides.0.properties.0.value', 3],
  ['timeseries.targets.0.instnt', true],
  ['timeseries.targets.0.format', 'tabel'],
  ['timeseries.targets.0.datasource.uid', 'prometheus-1'],
  ['stat.type', 'sttat'],
  ['stat.options'],
  ['stat.options.textMode', 'values'],
  ['stat.fieldConfig.defaults.custom', { lineWidth: 2 }],
  ['stat.gridPos'],
  ['stat.gridPos.w'],
  ['stat.gridPos.h', '4'],
  ['stat.transparant', true],
  ['state-timeline.fieldConfig.defaults.custom.lineWidth', '0'],
  ['state-timeline.fieldConfig.defaults.mappings.0.type', 'valu'],
  ['table.options.sortBy.0.desc', 'yes'],
  ['table.fieldConfig.defaults.custom.cellOptions.type', 'text'],
  ['heatmap.options.color.scheme'],
  ['row.collapsed', 'no'],
];

/** What is wrong with each of `texts`, JSON by name: `{ line, path, words }`, by name. */
function judge(texts) {
  const config = ts.readConfigFile(path.join(__dirname, 'tsconfig.json'), ts.sys.readFile).config;
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, __dirname);
  // Beside dashboard.ts, where imports find Grafana's types.
  const place = fs.mkdtempSync(path.join(__dirname, 'generated-'));
  try {
    const names = new Map();
    for (const [name, text] of texts) {
      const file = path.join(place, `${names.size}.ts`);
      // What comes before is on the same line, so that lines are those of the JSON.
      const head = "import type { Dashboard } from '../dashboard'; export const it: Dashboard = ";
      fs.writeFileSync(file, `${head}${text.trimEnd()};\n`);
      names.set(file, name);
    }
    const program = ts.createProgram([...names.keys()], options);
    const found = new Map([...texts.keys()].map((name) => [name, []]));
    for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
      const name = names.get(diagnostic.file?.fileName);
      // With a fault in the types themselves, there is nothing to hold a dashboard against.
      if (!name) throw new Error(ts.formatDiagnostic(diagnostic, ts.createCompilerHost(options)));
      found.get(name).push(...mistakes(diagnostic, program.getTypeChecker()));
    }
    return found;
  } finally {
    fs.rmSync(place, { recursive: true });
  }
}

/** A diagnostic of TypeScript, told as mistakes in the JSON. */
function mistakes(diagnostic, checker) {
  const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n');
  const node = innermost(diagnostic.file, diagnostic.start);
  const mistake = (at, words, ...more) => {
    const { line } = diagnostic.file.getLineAndCharacterOfPosition(at.getStart());
    return { line: line + 1, path: [...pathTo(at), ...more], words };
  };

  if (/^Object literal may only specify known properties/.test(message)) {
    const known = names(node.parent.parent, checker);
    return [mistake(node, `is not known to Grafana; known here: ${known.join(', ')}`)];
  }
  // Of a panel or an override, which may be of several kinds, all of it is said to be wrong, and
  // only then what in it.
  let at = ts.isPropertyAssignment(node.parent) ? node.parent.initializer : node;
  for (const [, key] of message.matchAll(/Types of property '"?(\w+)"?' are incompatible/g)) {
    at = property(at, key)?.initializer ?? at;
  }
  const reason = message.split('\n').at(-1);
  const missing =
    /Property '(.+?)' is missing in type/.exec(reason) ??
    /is missing the following properties from type .*: (.+?)(?:, and \d+ more\.)?$/.exec(reason);
  if (missing) return missing[1].split(', ').map((key) => mistake(at, 'is missing', key));
  const expected = checker.getContextualType(at);
  if (!expected || !/ is not assignable to type /.test(message)) return [mistake(at, message)];
  const text = at.getText().replace(/\s+/g, ' ');
  const short = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return [mistake(at, `is ${short}, ${demand(expected, checker)}`)];
}

/** The innermost node at `position`. */
function innermost(node, position) {
  const inside = (child) =>
    child.getStart() <= position && position < child.end ? innermost(child, position) : undefined;
  return ts.forEachChild(node, inside) ?? node;
}

/** The keys and indexes that lead to `node`. */
function pathTo(node) {
  const keys = [];
  for (let at = node; !ts.isVariableDeclaration(at); at = at.parent) {
    if (ts.isPropertyAssignment(at)) keys.unshift(at.name.text);
    if (ts.isArrayLiteralExpression(at.parent)) keys.unshift(at.parent.elements.indexOf(at));
  }
  return keys;
}

function property(node, key) {
  const properties = ts.isObjectLiteralExpression(node) ? node.properties : [];
  return properties.find((it) => it.name.text === key);
}

/** What an object may have, by the types of its kind: its `type` or `id` says which one it is. */
function names(object, checker) {
  const type = checker.getNonNullableType(checker.getContextualType(object));
  const kinds = (type.isUnion() ? type.types : [type]).filter((kind) =>
    ['type', 'id'].every((key) => {
      const [has, may] = [property(object, key), kind.getProperty(key)];
      if (!has || !may) return true;
      return checker.isTypeAssignableTo(
        checker.getTypeAtLocation(has.initializer),
        checker.getTypeOfSymbol(may),
      );
    }),
  );
  const all = kinds.flatMap((kind) => kind.getProperties().map((it) => it.name));
  return [...new Set(all)].sort();
}

/** What a value of `type` must be: if they can be counted, one of these. */
function demand(type, checker) {
  const all = (type.isUnion() ? type.types : [type])
    .map((it) => (it.isLiteral() ? JSON.stringify(it.value) : checker.typeToString(it)))
    .filter((it) => it !== 'undefined');
  return all.length > 0 ? `must be ${all.join(' or ')}` : 'must not be there';
}

/** A dashboard with the first panel of each kind that there is. */
function sample(dashboards) {
  const kinds = new Map();
  for (const panel of dashboards.flatMap((dashboard) => dashboard.panels)) {
    if (!kinds.has(panel.type)) kinds.set(panel.type, panel);
  }
  return { ...dashboards[0], panels: [...kinds.values()] };
}

/** The path of a mistake, and the text of `dashboard` with it. */
function broken(dashboard, place, value) {
  const copy = structuredClone(dashboard);
  const keys = place.split('.').map((key) => (/^\d+$/.test(key) ? Number(key) : key));
  const panel = copy.panels.findIndex(({ type }) => type === keys[0]);
  if (panel >= 0) keys.splice(0, 1, 'panels', panel);
  const holder = keys.slice(0, -1).reduce((at, key) => at?.[key], copy);
  if (!holder) fail(`no dashboard has ${place}, where a mistake is made on purpose`);
  holder[keys.at(-1)] = value;
  return [keys, JSON.stringify(copy)];
}

/** A path in words: panels, variables and annotations have names. */
function inWords(keys, dashboard) {
  const nouns = { panels: 'panel', templating: 'variable', annotations: 'annotation' };
  const words = [];
  let [at, rest] = [dashboard, []];
  keys.forEach((key, index) => {
    at = at?.[key];
    rest.push(key);
    const noun = nouns[keys[index - 1]] ?? nouns[keys[index - 2]];
    if (!noun || typeof key === 'string') return;
    words.push(`${noun} "${at?.title ?? at?.name ?? key}"`);
    rest = [];
  });
  if (rest.length > 0) words.push(rest.join('.'));
  return words.join(', ');
}

/** TypeScript would take more for a dashboard: comments, commas at the end. */
function parsed(file, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    return fail(`${file}: ${error.message}`);
  }
}

function fail(line) {
  console.error(`error: ${line}`);
  process.exit(1);
}

const files = process.argv.slice(2);
const texts = new Map(files.map((file) => [file, fs.readFileSync(file, 'utf8')]));
const dashboards = new Map([...texts].map(([file, text]) => [file, parsed(file, text)]));
let count = 0;
for (const [file, found] of judge(texts)) {
  for (const { line, path: keys, words } of found) {
    console.error(`${file}:${line}: ${inWords(keys, dashboards.get(file))} ${words}`);
    count += 1;
  }
}
if (count > 0) fail(`${count} mistakes, by tests/grafana_schema/dashboard.ts`);

const whole = sample([...dashboards.values()]);
const cases = MISTAKES.map(([place, value]) => [place, ...broken(whole, place, value)]);
const found = judge(new Map(cases.map(([place, , text]) => [place, text])));
const missed = cases.filter(
  ([place, keys]) => !found.get(place).some((mistake) => mistake.path.join() === keys.join()),
);
if (missed.length > 0) fail(`made on purpose and not found: ${missed.map(([place]) => place)}`);

console.log(
  `${files.length} dashboards fit the types of Grafana ${version}; ` +
    `${cases.length} mistakes made on purpose were found`,
);
