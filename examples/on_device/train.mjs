// Train from the files that make.py wrote, with onnxruntime-node alone:
//
//     npm install onnxruntime-node
//     node examples/on_device/train.mjs device

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.cwd(), 'package.json'));
const ort = require('onnxruntime-node');

const folder = process.argv[2];
const training = join(folder, 'training');
const description = JSON.parse(readFileSync(join(training, 'training.json'), 'utf8'));
const { optimizer } = description;

const floats = (file, offset = 0, length = undefined) => {
  const bytes = readFileSync(file);
  return new Float32Array(
    bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + (length === undefined ? bytes.length : offset + length)));
};
const tensor = (data, shape) => new ort.Tensor('float32', Float32Array.from(data), shape);

// All parameters and states by name. (This network has float32 values only.)
const values = {};
for (const t of description.values.tensors) {
  values[t.name] = tensor(
    floats(join(training, description.values.file), t.offset, t.length), t.shape);
}
const scalars = floats(join(training, optimizer.scalars.file));
const session = (file) => ort.InferenceSession.create(join(training, file), { logSeverityLevel: 3 });
const steps = new Map();
for (const step of description.steps) steps.set(step.key, { ...step, session: await session(step.file) });
const update = await session(optimizer.file);
let updates = 0;

async function train(key, batch) {
  const step = steps.get(key);
  const feed = {};
  for (const { name, shape } of step.inputs) {
    feed[name] = name in batch ? tensor(batch[name], shape) : values[name];
  }
  const results = await step.session.run(feed);
  for (const { name, kind, of } of step.outputs) {
    if (kind === 'auxiliary state') values[of] = results[name];
  }
  const { width } = optimizer.scalars;
  const inputs = { scalars: tensor(scalars.slice(updates * width, (updates + 1) * width), [width]) };
  for (const parameter of optimizer.parameters) {
    inputs[`${parameter}.grad`] = results[`${parameter}.grad`];
    inputs[parameter] = values[parameter];
    for (const state of optimizer.states) inputs[`${parameter}.${state}`] = values[`${parameter}.${state}`];
  }
  const changed = await update.run(inputs);
  for (const [name, value] of Object.entries(changed)) values[name.slice(0, -'.new'.length)] = value;
  updates += 1;
  return results[step.outputs.find(({ kind }) => kind === 'output').name];
}

const expected = JSON.parse(readFileSync(join(folder, 'batches.json'), 'utf8'));
const losses = [];
for (const { key, ...batch } of expected.batches) {
  const probabilities = await train(key, batch);
  const classes = probabilities.dims[1];
  const logs = batch.softmax_label.map((label, row) => -Math.log(probabilities.data[row * classes + label]));
  losses.push(logs.reduce((a, b) => a + b) / logs.length);
}
const largest = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
const error = Math.max(
  ...Object.entries(expected.parameters).map(([name, other]) => largest([...values[name].data], other)));
const last = losses.slice(-10).reduce((a, b) => a + b) / Math.min(10, losses.length);
console.log(`${updates} updates; loss of the last ten ${last.toFixed(4)}`);
console.log(`largest difference from symbucket: loss ${largest(losses, expected.losses).toExponential(1)}, ` +
  `parameters ${error.toExponential(1)}`);
