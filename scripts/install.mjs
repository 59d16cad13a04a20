/**
 * Installing what package-lock.json names, once. A stamp inside node_modules remembers for which lock file
 * it was installed, so a second start does nothing and a changed lock file installs again. The stamp is
 * written last: an installation that was cut short is repeated.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./bun.mjs";

const nodeMajorMin = 20;
/** How much of npm's output is shown when it fails, in lines: its reason comes first, its help after. */
const failureLinesMax = 12;

/**
 * What the stamp has to say for `folder`: a hash of its lock file, and the platform the binaries are for.
 * @param {string} folder
 */
export function stampOf(folder) {
  const hash = createHash("sha256")
    .update(readFileSync(join(folder, "package-lock.json")))
    .digest("hex");
  return `${hash} ${process.platform} ${process.arch}\n`;
}

/** @param {string} folder */
function stampPath(folder) {
  return join(folder, "node_modules", ".proxima-installed");
}

/**
 * True when node_modules of `folder` was installed for its lock file. Without a lock file (Proxima is itself
 * a dependency there) there is nothing to install.
 * @param {string} folder
 */
export function isInstalled(folder) {
  if (!existsSync(join(folder, "package-lock.json"))) return true;
  const path = stampPath(folder);
  return existsSync(path) && readFileSync(path, "utf8") === stampOf(folder);
}

/** Writes the stamp. @param {string} folder */
export function markInstalled(folder) {
  writeFileSync(stampPath(folder), stampOf(folder));
}

/** How npm is started: the one that runs this script where there is one. @returns {[string, string[]]} */
function npmCommand() {
  const path = process.env.npm_execpath;
  if (path !== undefined && basename(path) === "npm-cli.js") return [process.execPath, [path]];
  return [process.platform === "win32" ? "npm.cmd" : "npm", []];
}

/**
 * Runs `npm ci` in `folder` unless that was done for this lock file. Throws an Error with one clear
 * sentence, followed by npm's own words, when it fails.
 * @param {{ folder?: string, say?: (line: string) => void }} [options]
 */
export function ensureInstalled({ folder = root, say = (line) => console.error(line) } = {}) {
  const major = Number(process.versions.node.split(".")[0]);
  if (major < nodeMajorMin) {
    throw new Error(
      `Proxima needs Node ${nodeMajorMin} or later to start; this is Node ${process.versions.node}.`,
    );
  }
  if (isInstalled(folder)) return;
  say("Installing dependencies with npm ci (once; later runs skip this) ...");
  const [command, args] = npmCommand();
  // Development dependencies too, whatever NODE_ENV says: the same folder serves start, test and check.
  const npm = spawnSync(command, [...args, "ci", "--include=dev", "--include=optional", "--loglevel=error"], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (npm.error !== undefined) {
    throw new Error(`The dependencies could not be installed: npm did not start (${npm.error.message}).`);
  }
  if (npm.status !== 0) {
    const how = npm.status === null ? `was ended by ${npm.signal}` : `ended with status ${npm.status}`;
    const words = `${npm.stdout}${npm.stderr}`.trim().split("\n").slice(0, failureLinesMax).join("\n");
    throw new Error(`The dependencies could not be installed: npm ci ${how}.\n${words}`.trim());
  }
  markInstalled(folder);
}
