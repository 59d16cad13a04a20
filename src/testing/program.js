/** The program as a child of the test: started, waited for, ended; it ends by itself when the test is killed. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

/** @typedef {{ readonly url: string, readonly control: string }} Node */
/**
 * The ready line of `proxima dev --ci --json`.
 * @typedef {{ readonly control: string, readonly token: string, readonly accessKey: { readonly accessKeyId: string, readonly secretAccessKey: string }, readonly storage: string, readonly takeover: { readonly url: string, readonly caFile: string, readonly hosts: readonly string[] } | null, readonly sites: Readonly<Record<string, { readonly cloudflare: string, readonly fastly: string, readonly cloudfront: string, readonly number: string }>>, readonly pops: Readonly<Record<string, Node>>, readonly shield: Node | null }} Ready
 */

const PROGRAM = fileURLToPath(new URL("../../scripts/proxima.mjs", import.meta.url));
/** What is kept of its messages, to be told when it fails, in characters. */
const MESSAGES_CHARS_MAX = 10_000;
/** How long it may take to end before it is killed, in milliseconds. */
const END_MS_MAX = 20_000;

/** A started program. */
export class Program {
  #child;
  #messages = "";
  /** @type {Promise<void>} */
  #ended;

  /** @param {readonly string[]} argv */
  constructor(argv) {
    this.#child = spawn(process.execPath, [PROGRAM, ...argv], { stdio: ["pipe", "pipe", "pipe"] });
    // Closed by the system when this process ends, in whatever way; that is what it waits for.
    this.#child.stdin.on("error", () => {});
    this.#child.stderr.setEncoding("utf8").on("data", (text) => {
      this.#messages = (this.#messages + text).slice(-MESSAGES_CHARS_MAX);
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once("close", () => resolve());
      this.#child.once("error", (error) => {
        this.#messages += error.message;
        resolve();
      });
    });
  }

  /** What it has told on standard error. */
  get messages() {
    return this.#messages;
  }

  /** Resolves with its ready line. @param {number} msMax @returns {Promise<Ready>} */
  async ready(msMax) {
    let text = "";
    const { stdout } = this.#child;
    stdout.setEncoding("utf8");
    /** @type {(line: string) => void} */
    let found = () => {};
    /** @type {Promise<string>} */
    const line = new Promise((resolve) => {
      found = resolve;
    });
    stdout.on("data", (piece) => {
      text += piece;
      const end = text.indexOf("\n");
      if (end >= 0) found(text.slice(0, end));
    });
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve("late"), msMax);
    });
    const first = await Promise.race([line, this.#ended.then(() => "ended"), late]);
    clearTimeout(timer);
    if (first === "ended" || first === "late") {
      const why = first === "late" ? `it was not ready within ${msMax} ms` : "it ended";
      await this.stop();
      throw new Error(`the CDN did not start: ${why}\n${this.#messages}`.trimEnd());
    }
    return JSON.parse(String(first));
  }

  /** Ends it; kills it when it takes too long. */
  async stop() {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), END_MS_MAX);
    await this.#ended;
    clearTimeout(timer);
  }
}
