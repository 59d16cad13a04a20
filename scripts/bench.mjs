#!/usr/bin/env node
/**
 * `npm run bench` is the comparison with other servers, `npm run bench -- NAME ARGS...` one of the
 * benchmarks in bench/, `npm run bench -- list` names them.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { program, root, runBun } from "./bun.mjs";
import { ensureInstalled } from "./install.mjs";

const folder = join(root, "bench");

/** The benchmarks' names, sorted. */
function names() {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".ts"))
    .map((name) => name.slice(0, -".ts".length))
    .sort();
}

/** The first sentence of a benchmark's opening comment. @param {string} name */
function summary(name) {
  const opening = /^\/\*\*(.*?)\*\//s.exec(readFileSync(join(folder, `${name}.ts`), "utf8"))?.[1] ?? "";
  const text = opening
    .replace(/^\s*\*/gm, " ")
    .replace(/\s+/g, " ")
    .trim();
  return /^.*?[.:](?= |$)/.exec(text)?.[0] ?? text;
}

/** Words of the comparison (bench/compare.ts), which may be given without its name. */
const comparison = ["whole", "quick", "check"];

await program(async () => {
  const args = process.argv.slice(2);
  const known = names();
  const [first] = args;
  if (first === "list") {
    const width = Math.max(0, ...known.map((one) => one.length));
    for (const one of known) console.log(`${one.padEnd(width)}  ${summary(one)}`.trimEnd());
    return;
  }
  if (first === undefined || comparison.includes(first) || first.startsWith("--")) args.unshift("compare");
  const [name = "", ...rest] = args;
  if (!known.includes(name)) {
    const words = [...comparison, "list", ...known];
    throw new Error(`There is no benchmark "${name}"; there are: ${words.join(", ")}.`);
  }
  ensureInstalled();
  await runBun(["--no-install", join(folder, `${name}.ts`), ...rest]);
});
