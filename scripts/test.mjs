#!/usr/bin/env node
/**
 * `npm test [-- FILTER... FLAGS-OF-BUN-TEST...]`: installs what is needed, runs the test files whose path
 * contains one of the filters (all of them without), and ends with one line, `N passed, N failed`. What starts
 * with `-` goes to `bun test` (`-t "name"`, and others with their value behind `=`). `--long` adds test/long.
 *
 * A test that fails is run once again, because whole programs are tested on machines that may be busy;
 * the run ends by naming every one that needed it. `--retry=0` turns that off.
 *
 * A run is red when a test failed, a file could not be loaded, no test ran, or a process was left behind.
 * Temporary files go to one folder that is removed at the end.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findBun, program, root } from "./bun.mjs";
import { ensureInstalled } from "./install.mjs";
import { ensureSystemPackages, systemPackages } from "./system.mjs";

const suites = ["unit", "contract", "conformance", "integration", "e2e"];
/** Suites that run on Bun alone, without the programs of scripts/system.mjs. */
const plainSuites = ["unit", "contract", "conformance"];
/** How long processes of the tests may take to end after the last test, in milliseconds. */
const leftoverGraceMs = 3000;
/** Names this run in the environment of everything it starts, also of what left the process group. */
const runVariable = "PROXIMA_TEST_RUN";

/** Paths of the test files, relative to the root, sorted. @param {string} folder @returns {string[]} */
function testFilesIn(folder) {
  if (!existsSync(join(root, folder))) return [];
  const found = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) found.push(...testFilesIn(path));
    else if (/\.test\.tsx?$/.test(entry.name)) found.push(path);
  }
  return found.sort();
}

/**
 * Numbers of the summary that `bun test` ends with. A file that can not be loaded counts as failed there,
 * which its JUnit report leaves out. Null when there is no summary: the run was cut short.
 * @param {string} output
 */
export function summaryOf(output) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are escape sequences
  const plain = output.replace(/\u001b\[[0-9;]*m/g, "");
  const end = plain.lastIndexOf("\nRan ");
  if (end < 0) return null;
  const block = plain.slice(plain.lastIndexOf("\n\n", end) + 1, end);
  /** @param {string} word */
  const count = (word) => Number(new RegExp(`^\\s*(\\d+) ${word}$`, "m").exec(block)?.[1] ?? 0);
  return { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
}

/**
 * Processes that this run started and that still live, by the session they were started in and by the
 * variable in their environment. Only where there is /proc.
 * @param {number} session
 * @param {string} mark
 */
function leftovers(session, mark) {
  if (!existsSync("/proc/self/stat")) return [];
  const found = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      // The command in parentheses may hold spaces; state, parent, group and session follow it.
      const [state, , , ofSession] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state === "Z" || state === "X") continue;
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      if (Number(ofSession) !== session && !environment.split("\0").includes(`${runVariable}=${mark}`))
        continue;
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
      found.push({ pid, command: command.slice(0, 200) });
    } catch {
      // It ended while we looked, or belongs to somebody else.
    }
  }
  return found;
}

/** Ends a process, or a whole group with a negative id, if it is still there. @param {number} id @param {NodeJS.Signals} signal */
function end(id, signal) {
  try {
    process.kill(id, signal);
  } catch {
    // Already gone.
  }
}

/**
 * Runs Bun in a session of its own and streams what it says.
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{ code: number | null, signal: NodeJS.Signals | null, pid: number, tail: string, second: string[] }>}
 */
function runTests(args, env) {
  return new Promise((resolve, reject) => {
    const bun = spawn(findBun(), args, { cwd: root, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const pid = bun.pid ?? 0;
    let tail = "";
    /** @type {Set<string>} */
    const second = new Set();
    let line = "";
    /** @param {Buffer} piece @param {NodeJS.WriteStream} to */
    const show = (piece, to) => {
      to.write(piece);
      const text = piece.toString("utf8");
      tail = (tail + text).slice(-4096);
      const lines = (line + text).split("\n");
      line = (lines.pop() ?? "").slice(-4096);
      for (const one of lines) if (/^\(pass\).*\(attempt \d+\)/.test(one)) second.add(one.slice(7));
    };
    bun.stdout.on("data", (piece) => show(piece, process.stdout));
    bun.stderr.on("data", (piece) => show(piece, process.stderr));
    for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
      process.on(signal, () => end(-pid, signal));
    }
    bun.on("error", reject);
    // "exit", then a moment for the pipes: a left-over child may hold them open for ever.
    bun.on("exit", (code, signal) => {
      const settle = () => resolve({ code, signal, pid, tail, second: [...second] });
      const timer = setTimeout(settle, 1000);
      bun.on("close", () => {
        clearTimeout(timer);
        settle();
      });
    });
  });
}

/** @param {{ files: string[], flags: string[], temporary: string }} plan */
async function testAndReport({ files, flags, temporary }) {
  const mark = randomBytes(8).toString("hex");
  /** @type {NodeJS.ProcessEnv} */
  // The compile cache of Node's programs under test would outlive the test that started them.
  const env = { ...process.env, TMPDIR: temporary, NODE_DISABLE_COMPILE_CACHE: "1", [runVariable]: mark };
  if (process.stdout.isTTY && env.NO_COLOR === undefined) env.FORCE_COLOR = "1";
  const { code, signal, pid, tail, second } = await runTests(
    [
      "test",
      // The last one of a name holds.
      ...["--retry=1", "--timeout=15000", ...flags],
      ...files.map((file) => `./${file}`),
    ],
    env,
  );

  const summary = summaryOf(tail);
  const passed = summary?.passed ?? 0;
  let failed = summary?.failed ?? 0;
  const problems = [];
  if (summary === null) problems.push(`bun test ended without a summary (${signal ?? `status ${code}`}).`);
  else if (passed + failed === 0) problems.push("No test ran.");
  else if (code !== 0 && failed === 0) problems.push(`bun test ended with ${signal ?? `status ${code}`}.`);

  let left = leftovers(pid, mark);
  for (
    const endMs = Date.now() + leftoverGraceMs;
    left.length > 0 && Date.now() < endMs;
    left = leftovers(pid, mark)
  ) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const { pid: id, command } of left) {
    problems.push(`The tests left a process behind: ${id} ${command}`);
    end(id, "SIGKILL");
  }

  const remaining = readdirSync(temporary);
  if (remaining.length > 0) {
    console.log(`Note: ${remaining.length} temporary files were left: ${remaining.slice(0, 5).join(", ")}`);
  }
  for (const name of second) console.log(`Passed at the second attempt only: ${name}`);
  if (summary !== null && summary.skipped > 0) console.log(`${summary.skipped} skipped`);
  for (const problem of problems) console.log(problem);
  failed += problems.length;
  console.log(`${passed} passed, ${failed} failed`);
  if (failed > 0 || code !== 0) process.exitCode = 1;
}

async function main() {
  const given = process.argv.slice(2);
  const args = given.filter((arg) => arg !== "--long");
  const long = args.length !== given.length;
  const isFlag = (/** @type {string} */ arg, /** @type {number} */ at) =>
    arg.startsWith("-") || args[at - 1] === "-t";
  const flags = args.filter(isFlag);
  const filters = args.filter((arg, at) => !isFlag(arg, at));

  const all = [...suites, ...(long ? ["long"] : [])].flatMap((suite) => testFilesIn(`test/${suite}`));
  const files =
    filters.length === 0 ? all : all.filter((file) => filters.some((filter) => file.includes(filter)));
  if (files.length === 0) {
    console.log(
      filters.length === 0
        ? "There are no test files."
        : `No test file's path contains ${filters.join(" or ")}.`,
    );
    console.log("0 passed, 0 failed");
    process.exitCode = 1;
    return;
  }
  ensureInstalled();
  if (!files.every((file) => plainSuites.some((suite) => file.startsWith(`test/${suite}/`)))) {
    ensureSystemPackages(systemPackages);
  }
  const temporary = mkdtempSync(join(tmpdir(), "proxima-test-"));
  try {
    await testAndReport({ files, flags, temporary });
  } finally {
    rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
  }
}

await program(main);
