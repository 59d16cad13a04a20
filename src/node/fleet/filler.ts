/**
 * Asks this node for new content before viewers do, by its own listeners, so that it is stored as a viewer's
 * request would have it stored: each URL once over each scheme. It is nobody's promise: what fails is fetched
 * when somebody asks for it, and a longer list than the limit is cut.
 */
import { parseListenAddress } from "../../config/address.ts";
import { formatAddress } from "../../service/listen-error.ts";
import type { NodeLog } from "../../service/log.ts";
import type { EdgeAddresses } from "../edge-handle.ts";

/** URLs that wait at the same time. */
const WAITING_MAX = 100_000;
const AT_ONCE = 6;
/** An answer as a whole, in milliseconds. */
const ANSWER_MS_MAX = 10 * 60_000;

/** What it works on. */
export interface FillerOptions {
  readonly addresses: () => EdgeAddresses;
  readonly version: string;
  readonly log: NodeLog;
}

/** Works through a list in the background. */
export class Filler {
  readonly #options: FillerOptions;
  readonly #closing = new AbortController();
  #waiting: string[] = [];
  #running = 0;
  #done = 0;
  #failed = 0;

  constructor(options: FillerOptions) {
    this.#options = options;
  }

  /** Takes host and path of new content, without a scheme. */
  add(urls: readonly string[]): void {
    const room = WAITING_MAX - this.#waiting.length;
    this.#waiting.push(...urls.slice(0, Math.max(0, room)));
    if (urls.length > room)
      this.#options.log(
        "warning",
        `${urls.length - Math.max(0, room)} new files wait for viewers to ask: too many wait`,
      );
    while (this.#running < AT_ONCE && this.#running < this.#waiting.length) {
      this.#running++;
      void this.#work();
    }
  }

  close(): void {
    this.#waiting = [];
    this.#closing.abort();
  }

  async #work(): Promise<void> {
    for (let url = this.#waiting.shift(); url !== undefined; url = this.#waiting.shift()) {
      const { http, https } = this.#options.addresses();
      const outcomes = await Promise.all([
        http === null ? true : this.#ask("http", http, url),
        https === null ? true : this.#ask("https", https, url),
      ]);
      this.#done++;
      if (outcomes.includes(false)) this.#failed++;
    }
    this.#running--;
    if (this.#running > 0 || this.#closing.signal.aborted) return;
    const failed = this.#failed === 0 ? "" : `, ${this.#failed} could not be had`;
    this.#options.log("info", `new content is in place: ${this.#done} files${failed}`);
    this.#done = 0;
    this.#failed = 0;
  }

  async #ask(scheme: "http" | "https", address: string, url: string): Promise<boolean> {
    const slash = url.indexOf("/");
    const host = url.slice(0, slash);
    try {
      const response = await fetch(`${scheme}://${onThisMachine(address)}${url.slice(slash)}`, {
        redirect: "manual",
        decompress: false,
        proxy: "",
        headers: { host, "user-agent": `proxima/${this.#options.version}`, "accept-encoding": "identity" },
        signal: AbortSignal.any([this.#closing.signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
        // To ourselves: whose certificate it is matters to viewers.
        ...(scheme === "https" ? { tls: { serverName: host, rejectUnauthorized: false } } : {}),
      });
      for await (const _ of response.body ?? []);
      return response.status < 400;
    } catch {
      return false;
    }
  }
}

/** An address of every interface is asked on loopback. */
function onThisMachine(address: string): string {
  const read = parseListenAddress(address);
  if (read === null) return address;
  const everywhere = read.hostname === "" || read.hostname === "0.0.0.0" || read.hostname === "::";
  return formatAddress({ hostname: everywhere ? "127.0.0.1" : read.hostname, port: read.port });
}
