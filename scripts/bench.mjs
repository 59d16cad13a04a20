#!/usr/bin/env node
/** `npm run bench` lists the benchmarks in bench/, `npm run bench -- NAME ARGS...` runs one of them. */
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

await program(async () => {
  const [name, ...args] = process.argv.slice(2);
  const known = names();
  if (name === undefined) {
    if (known.length === 0) console.log("There are no benchmarks in bench/ yet.");
    const width = Math.max(0, ...known.map((one) => one.length));
    for (const one of known) console.log(`${one.padEnd(width)}  ${summary(one)}`.trimEnd());
    return;
  }
  if (!known.includes(name)) {
    throw new Error(`There is no benchmark "${name}"; there are: ${known.join(", ") || "none"}.`);
  }
  ensureInstalled();
  await runBun(["--no-install", join(folder, `${name}.ts`), ...args]);
});
