/**
 * Has a config file read by a process of its own, of the same program. Schemas and parsers are most of what a
 * small edge would hold in memory, and every garbage collection of a process that serves walks all it holds: so
 * they live as long as a reading does, and somewhere else.
 */
import { resolve as absolute } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { ConfigReader, LoadResult } from "../config-reader.ts";
import { fileProblem } from "../problems.ts";
import type { Config, NodeConfig, SiteConfig } from "../schema.ts";
import { type Read, Sources } from "../sources.ts";
import { REPLACED_STATUS } from "./command.ts";
import type { ReadingMessage } from "./messages.ts";

/** A config must be read in this time. The most sites that one may hold take a small part of it. */
const READING_MS_MAX = 300_000;

/** A site as it last came. */
interface KnownSite {
  readonly digest: string;
  readonly site: SiteConfig;
}

/** Reads one config file again and again, each time in a new process. */
export class ConfigProcess implements ConfigReader {
  readonly #file: string;
  readonly #command: readonly string[];
  readonly #timeoutMs: number;
  readonly #read: Sources;
  #known: ReadonlyMap<string, KnownSite> = new Map();

  /** `command` is the program that reads; the file's path is added to it. */
  constructor(file: string, command: readonly string[], timeoutMs = READING_MS_MAX) {
    this.#file = absolute(file);
    this.#command = command;
    this.#timeoutMs = timeoutMs;
    this.#read = new Sources(this.#file);
  }

  get sources(): readonly string[] {
    return this.#read.files;
  }

  get missed(): boolean {
    return this.#read.missed;
  }

  load(): Promise<LoadResult> {
    return this.#read.read(() => this.#ask());
  }

  changed(): Promise<boolean> {
    return this.#read.changed();
  }

  takeAsRead(): void {
    this.#read.takeAsRead();
  }

  async #ask(): Promise<Read<LoadResult>> {
    const { promise, resolve } = Promise.withResolvers<Read<LoadResult>>();
    const fail = (why: string): void =>
      resolve({ result: { ok: false, problems: [fileProblem(why)] }, files: this.#read.files, missed: true });
    const sites = new Map<string, KnownSite>();
    const take = (message: ReadingMessage): void => {
      switch (message.kind) {
        case "sites":
          for (const [id, digest, json] of message.sites) {
            const known = this.#known.get(id);
            sites.set(
              id,
              known?.digest === digest ? known : { digest, site: JSON.parse(json) as SiteConfig },
            );
          }
          break;
        case "config":
          this.#known = sites;
          resolve({
            result: { ok: true, config: configOf(message.node, sites), warnings: message.warnings },
            files: message.files,
          });
          break;
        case "refused":
          // A config that failed half-way has not said all it imports: keep what was known.
          resolve({
            result: { ok: false, problems: message.problems },
            files: [...new Set([...message.files, ...this.#read.files])],
          });
          break;
      }
    };
    let child: Bun.Subprocess;
    try {
      child = Bun.spawn([...this.#command, this.#file], {
        env: process.env,
        // What a config prints goes to standard error: standard output may be an access log.
        stdio: ["ignore", 2, 2],
        serialization: "advanced",
        ipc: (message, from) => {
          try {
            // What speaks is the same program, in the same version.
            take(message as ReadingMessage);
            from.send("taken");
          } catch (error) {
            fail(`cannot be taken from the process that reads it: ${messageOf(error)}`);
          }
        },
      });
    } catch (error) {
      fail(`cannot be read in a process of its own: ${messageOf(error)}`);
      return await promise;
    }
    const timer = setTimeout(() => fail(`was not read within ${this.#timeoutMs / 1_000} s`), this.#timeoutMs);
    void child.exited.then((status) =>
      fail(
        status === REPLACED_STATUS
          ? "was not read: the program was replaced by another version; start the edge again"
          : `was not read: the process that reads it ended (${child.signalCode ?? `status ${status}`})`,
      ),
    );
    const read = await promise;
    clearTimeout(timer);
    child.kill("SIGKILL");
    await child.exited;
    return read;
  }
}

function configOf(node: string, known: ReadonlyMap<string, KnownSite>): Config {
  const sites: Record<string, SiteConfig> = {};
  for (const [id, { site }] of known) sites[id] = site;
  return { ...(JSON.parse(node) as NodeConfig), sites };
}
