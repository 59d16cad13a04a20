/** Options that `dev` and `edge` share, read into values; and how they replace what a config says. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type ListenAddress, parseListenAddress } from "../config/address.ts";
import { isControlUrl } from "../config/fleet-names.ts";
import type { Config } from "../config/schema.ts";
import { parseSize } from "../config/size.ts";
import { formatAddress } from "../service/listen-error.ts";

/** The shared options as given; what was not given is absent. */
export interface ListenOptions {
  readonly http?: ListenAddress;
  readonly https?: ListenAddress;
  readonly control?: ListenAddress;
  readonly cacheMemory?: number;
  readonly dataDir?: string;
  readonly accessLog?: string;
  readonly workers?: number | "auto";
  /** False with --no-http3. */
  readonly http3: boolean;
}

/** Both things that --control may name on an edge. */
export interface EdgeControl {
  /** Address of the node's own control listener. */
  readonly own?: ListenAddress;
  /** URL of the fleet's control plane. */
  readonly plane?: string;
}

/** Smallest memory for the cache, as in the config. */
const CACHE_BYTES_MIN = 1_024 * 1_024;
/** Most workers, as in the config. */
const WORKERS_MAX = 64;
const LOOPBACK = "127.0.0.1";

/** Adds the shared options to a command. */
export function addListenOptions(command: Command, control = ownControl()): Command {
  const address = "HOST:PORT";
  return command
    .addOption(
      new Option(`--http <${address}>`, "address for http; port 0 picks a free one").argParser(readAddress),
    )
    .addOption(
      new Option(`--https <${address}>`, "address for https and HTTP/3; port 0 picks a free one").argParser(
        readAddress,
      ),
    )
    .addOption(control)
    .addOption(
      new Option("--cache-memory <SIZE>", "most memory for stored answers, such as 256MiB").argParser(
        readSize,
      ),
    )
    .option("--data-dir <DIR>", "directory for what the node keeps (its local CA, its lock)", readPath)
    .option(
      "--access-log <FILE>",
      "append the access log (JSON lines) to FILE; - is standard output",
      readPath,
    )
    .addOption(
      new Option(
        "--workers <N>",
        "processes that serve together, 1 to 64, or auto: one for each core",
      ).argParser(readWorkers),
    )
    .option("--no-http3", "do not offer HTTP/3");
}

function ownControl(): Option {
  return new Option(
    "--control <HOST:PORT>",
    "address of the control listener (health, metrics, explain)",
  ).argParser(readAddress);
}

/** `--control` of an edge, which may be given twice: an address for the node itself, a URL for its fleet. */
export function edgeControlOption(): Option {
  return new Option(
    "--control <HOST:PORT|URL>",
    "address of the node's own control listener; or URL of the fleet's control plane; or both, given twice",
  ).argParser((text: string, before: EdgeControl | undefined): EdgeControl => {
    if (!/^https?:/i.test(text)) return { ...before, own: readAddress(text) };
    if (!isControlUrl(text))
      throw new InvalidArgumentError(
        'Expected "https://host[:port]", or "http://127.0.0.1:port" on this machine.',
      );
    return { ...before, plane: text };
  });
}

/** Reads an address of a command line. */
export function readAddress(text: string): ListenAddress {
  const address = parseListenAddress(text);
  if (address === null) {
    throw new InvalidArgumentError(
      "Expected HOST:PORT, :PORT or [::1]:PORT, with a port from 0 to 65535 (0 picks a free one).",
    );
  }
  return address;
}

function readSize(text: string): number {
  const bytes = parseSize(text);
  if (bytes === null || bytes < CACHE_BYTES_MIN) {
    throw new InvalidArgumentError("Expected a size of at least 1MiB, such as 256MiB or 1GiB.");
  }
  return bytes;
}

function readWorkers(text: string): number | "auto" {
  if (text === "auto") return "auto";
  const count = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > WORKERS_MAX) {
    throw new InvalidArgumentError(`Expected a whole number from 1 to ${WORKERS_MAX}, or auto.`);
  }
  return count;
}

function readPath(text: string): string {
  if (text === "" || text.includes("\0")) throw new InvalidArgumentError("Expected a path.");
  return text;
}

/** The address as the config writes it. Without a host it means loopback. */
export function onLoopback(address: ListenAddress): string {
  return formatAddress({ ...address, hostname: address.hostname === "" ? LOOPBACK : address.hostname });
}

/** `config` with what the command line says in place of it. Without a host, only the control address means loopback. */
export function applyListenOptions(config: Config, options: ListenOptions): Config {
  const { listen } = config;
  return {
    ...config,
    listen: {
      ...listen,
      ...(options.http === undefined ? {} : { http: formatAddress(options.http) }),
      ...(options.https === undefined ? {} : { https: formatAddress(options.https) }),
      ...(options.control === undefined ? {} : { control: onLoopback(options.control) }),
      http3: listen.http3 && options.http3,
    },
    ...(options.cacheMemory === undefined ? {} : { cache: withMemory(config.cache, options.cacheMemory) }),
    ...(options.dataDir === undefined ? {} : { dataDir: options.dataDir }),
    ...(options.workers === undefined ? {} : { workers: options.workers }),
    ...(options.accessLog === undefined ? {} : { accessLog: { file: options.accessLog } }),
  };
}

function withMemory(cache: Config["cache"], memory: number): Config["cache"] {
  return { ...cache, memory, objectMax: Math.min(cache.objectMax, memory) };
}
