/**
 * What the tests need from the operating system beside Node: a list in one place, each with the Debian
 * package that brings it. It is installed for root and named for everyone else.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/**
 * @typedef {object} SystemPackage
 * @property {string} debian name of the Debian package
 * @property {string} what what it is for, in words
 * @property {() => string | null} find path of the program, null when it is not there
 */

/** Everything the whole test suite needs. @type {readonly SystemPackage[]} */
export const systemPackages = [
  { debian: "chromium", what: "a headless browser, for HTTP/3 and the dashboards", find: findChromium },
  {
    debian: "nats-server",
    what: "the bus of a large fleet",
    find: findNatsServer,
  },
];

/**
 * Path of the first of `names` that can be run, by PATH and in `more` folders; null when there is none.
 * @param {readonly string[]} names @param {readonly string[]} [more]
 */
export function findProgram(names, more = []) {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  folders.push(...more);
  for (const name of names) {
    for (const folder of folders) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here; look in the next folder.
      }
    }
  }
  return null;
}

/** Path of Chromium, or of a browser that is built from it; null when there is none. @returns {string | null} */
export function findChromium() {
  return findProgram(["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]);
}

/** Path of the NATS server; Debian puts it where only root's PATH looks. Null when there is none. @returns {string | null} */
export function findNatsServer() {
  return findProgram(["nats-server"], ["/usr/sbin"]);
}

/**
 * Makes sure that `packages` are there: installs what is missing when this is root on a Debian system.
 * Throws an Error that names them and the command otherwise.
 * @param {readonly SystemPackage[]} packages
 * @param {(line: string) => void} [say]
 */
export function ensureSystemPackages(packages, say = (line) => console.error(line)) {
  const missing = packages.filter((one) => one.find() === null);
  if (missing.length === 0) return;
  const names = missing.map((one) => one.debian);
  const words = missing.map((one) => `${one.debian} (${one.what})`).join(", ");
  const install = ["install", "-y", "--no-install-recommends", ...names];
  const byHand = `apt-get update && apt-get ${install.join(" ")}`;
  if (findProgram(["apt-get"]) === null) {
    throw new Error(
      `The tests need ${words}; install it with this system's package manager, so that it is on PATH.`,
    );
  }
  if (process.getuid?.() !== 0) throw new Error(`The tests need ${words}; run as root: ${byHand}`);
  say(`Installing ${names.join(", ")} with apt-get (once) ...`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  for (const args of [["update"], install]) {
    const apt = spawnSync("apt-get", ["-qq", ...args], {
      env,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 64 * 1024 * 1024,
    });
    if (apt.status === 0) continue;
    const said = `${apt.stdout ?? ""}${apt.stderr ?? ""}`.trim().split("\n").slice(-20).join("\n");
    throw new Error(
      `apt-get ${args[0]} failed, and the tests need ${words}; try by hand: ${byHand}\n${said}`,
    );
  }
  const still = packages.filter((one) => one.find() === null).map((one) => one.debian);
  if (still.length > 0)
    throw new Error(`apt-get installed ${still.join(", ")}, but its program is not on PATH.`);
}
