#!/usr/bin/env node
/**
 * Where Bun is, and how a program is run under it. Bun comes from npm as one package for each platform
 * (`@oven/bun-...`); the package `bun` copies the right binary by an install script, and install scripts
 * are off here (.npmrc), so this file picks the platform package itself, as bun's install.js does.
 *
 * As a program: `node scripts/bun.mjs ARGS...` runs Bun with ARGS. Node 20 and nothing else is needed.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root folder, or the package's when Proxima is installed as a dependency. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The signals that a wrapper passes on to the program it runs. */
const forwarded = /** @type {const} */ (["SIGTERM", "SIGINT", "SIGHUP"]);

/**
 * The platform packages that may hold Bun, best first; empty when Bun does not exist for the platform.
 * @param {{ platform: string, arch: string, musl: boolean }} machine
 * @returns {string[]}
 */
export function bunPackages({ platform, arch, musl }) {
  const cpu = arch === "x64" ? "x64" : arch === "arm64" ? "aarch64" : undefined;
  if (cpu === undefined) return [];
  switch (platform) {
    case "linux": {
      const glibc = `@oven/bun-linux-${cpu}`;
      // The binary of the other C library does not start, but naming it second gives a clearer failure
      // than "not found" where the detection is wrong.
      return musl ? [`${glibc}-musl`, glibc] : [glibc, `${glibc}-musl`];
    }
    case "darwin":
      return [`@oven/bun-darwin-${cpu}`];
    case "freebsd":
      return [`@oven/bun-freebsd-${cpu}`];
    case "win32":
      return [`@oven/bun-windows-${cpu}`];
    default:
      return [];
  }
}

/** True on Linux systems whose C library is musl (Alpine). */
function isMusl() {
  if (process.platform !== "linux") return false;
  // process.report is slow with the network part, so look at the loader's file first.
  if (existsSync("/etc/alpine-release")) return true;
  try {
    return readdirSync("/lib").some((name) => name.startsWith("ld-musl-")) && !hasGlibc();
  } catch {
    return false;
  }
}

/** True when this Node itself runs on glibc. */
function hasGlibc() {
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (
    process.report?.getReport() ?? {}
  );
  return report.header?.glibcVersionRuntime !== undefined;
}

/** The CPU to choose for: an x64 Node on Apple silicon (Rosetta) gets the native Bun. */
function cpuOfMachine() {
  if (process.platform !== "darwin" || process.arch !== "x64") return process.arch;
  const answer = spawnSync("sysctl", ["-n", "sysctl.proc_translated"], { encoding: "utf8" });
  return answer.stdout?.trim() === "1" ? "arm64" : process.arch;
}

/**
 * The path of Bun's binary, searched in `node_modules` of `from` and of the folders above it, as Node
 * resolves packages. Throws an Error with one clear sentence when there is none.
 * @param {string} [from]
 * @param {{ platform: string, arch: string, musl: boolean }} [machine]
 * @returns {string}
 */
export function findBun(from = root, machine) {
  const wanted = machine ?? { platform: process.platform, arch: cpuOfMachine(), musl: isMusl() };
  const names = bunPackages(wanted);
  if (names.length === 0) {
    throw new Error(
      `Bun does not run on ${wanted.platform} ${wanted.arch}; Linux and macOS on x64 or arm64 do.`,
    );
  }
  const program = wanted.platform === "win32" ? "bun.exe" : "bun";
  for (const name of names) {
    for (let folder = from; ; folder = dirname(folder)) {
      const path = join(folder, "node_modules", name, "bin", program);
      if (existsSync(path)) return path;
      if (dirname(folder) === folder) break;
    }
  }
  throw new Error(
    `Bun is not installed: no ${names[0]} in node_modules; run \`npm ci\` (without --omit=optional).`,
  );
}

/**
 * Runs a program with this process's terminal, passes signals on, and resolves with how it ended.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<{ code: number | null, signal: NodeJS.Signals | null }>}
 */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: "inherit", ...options });
    /** @type {(signal: NodeJS.Signals) => void} */
    const pass = (signal) => {
      // Ctrl-C in a terminal already reached every process of its group; a second one would mean "at once".
      if (signal === "SIGINT" && process.stdin.isTTY) return;
      child.kill(signal);
    };
    for (const signal of forwarded) process.on(signal, pass);
    const done = () => {
      for (const signal of forwarded) process.off(signal, pass);
    };
    child.on("error", (error) => {
      done();
      reject(error);
    });
    child.on("exit", (code, signal) => {
      done();
      resolve({ code, signal });
    });
  });
}

/**
 * Ends this process as the other one ended: with its exit status, or by the same signal.
 * @param {{ code: number | null, signal: NodeJS.Signals | null }} end
 * @returns {void}
 */
export function exitLike({ code, signal }) {
  if (signal === null) {
    process.exitCode = code ?? 1;
    return;
  }
  // 128 + n is what a shell reports; it stands where the signal can not end this process.
  process.exitCode = 128 + constants.signals[signal];
  process.kill(process.pid, signal);
}

/**
 * Runs Bun with `args` and ends this process as Bun ended.
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 */
export async function runBun(args, options) {
  exitLike(await run(findBun(), args, options));
}

/**
 * The engine sizes its garbage by the machine's memory: on a large one the heap may double before a full
 * collection, and a cache of 256 MiB came to rest at 1 GiB. Told of 512 MB it collects after a quarter of
 * growth (docs/decisions/0006-memory.md). With so little growth it would make every second collection a
 * full one; a lower share for what is new lets the old grow some more first (0028-churn.md). A value in
 * the environment wins.
 */
export const ENGINE_ENV = {
  BUN_JSC_forceRAMSize: "500000000",
  BUN_JSC_minEdenToOldGenerationRatio: "0.2",
};

/** Runs Proxima itself, `src/main.ts`, with `args`. @param {readonly string[]} args @param {{ cwd?: string }} [options] */
export async function runProxima(args, options) {
  // --no-install: a config file's imports are never fetched from the network.
  // --no-orphans: when this wrapper is killed outright, Proxima does not live on with its ports taken.
  for (const [name, value] of Object.entries(ENGINE_ENV)) process.env[name] ??= value;
  await runBun(["--no-install", "--no-orphans", join(root, "src", "main.ts"), ...args], options);
}

/**
 * The frame of every script: runs `main`, prints an Error as one sentence and exits with status 1.
 * @param {() => Promise<void>} main
 */
export async function program(main) {
  try {
    await main();
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}

/** True when the file of this URL is the program that Node was started with. @param {string} url */
export function isMain(url) {
  const started = process.argv[1];
  return started !== undefined && existsSync(started) && realpathSync(started) === fileURLToPath(url);
}

if (isMain(import.meta.url)) await program(() => runBun(process.argv.slice(2)));
