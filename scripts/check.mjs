#!/usr/bin/env node
/**
 * `npm run check`: everything that is true of the code without running it. Each check is one process; all
 * run, one line each says how it ended, and what a failed one said follows its line.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { findBun, program, root } from "./bun.mjs";
import { ensureInstalled } from "./install.mjs";

/** @typedef {{ name: string, needs: string, command: string, args: string[] }} Check */

/** @returns {Check[]} */
function checks() {
  const bun = findBun();
  const node = process.execPath;
  const biome = join(root, "node_modules", "@biomejs", "biome", "bin", "biome");
  const knip = join(root, "node_modules", "knip", "bin", "knip.js");
  const generate = join(root, "scripts", "generate.ts");
  return [
    // --no-script: `bun check` would run this very script instead.
    { name: "types", needs: "tsconfig.json", command: bun, args: ["check", "--no-script"] },
    {
      name: "lint and format",
      needs: "biome.json",
      command: node,
      args: [biome, "ci", "--colors=off", "--error-on-warnings", "."],
    },
    { name: "generated files", needs: "scripts/generate.ts", command: bun, args: [generate, "--check"] },
    { name: "dead code", needs: "knip.json", command: node, args: [knip, "--no-progress"] },
  ];
}

/** Runs one check to its end. @param {Check} check @returns {Promise<{ ok: boolean, output: string, ms: number }>} */
function outcome(check) {
  const startMs = performance.now();
  if (!existsSync(join(root, check.needs))) {
    return Promise.resolve({ ok: false, output: `${check.needs} is missing.`, ms: 0 });
  }
  return new Promise((resolve) => {
    const child = spawn(check.command, check.args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (output += text));
    child.on("error", (error) => resolve({ ok: false, output: error.message, ms: 0 }));
    child.on("close", (code) => resolve({ ok: code === 0, output, ms: performance.now() - startMs }));
  });
}

await program(async () => {
  ensureInstalled();
  const started = checks().map((check) => ({ check, ended: outcome(check) }));
  let failed = 0;
  for (const { check, ended } of started) {
    const { ok, output, ms } = await ended;
    console.log(`${check.name.padEnd(16)} ${ok ? "ok" : "FAILED"} (${(ms / 1000).toFixed(1)} s)`);
    if (ok) continue;
    failed += 1;
    console.log(output.trimEnd());
  }
  if (failed > 0) process.exitCode = 1;
});
