/** A peer: a server that is measured in the same way as all others. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NeededProgram } from "../packages.ts";
import { freePort, type Process, untilListening } from "../processes.ts";
import { makeFolder, SERVER_CPU, type Stage } from "../stage.ts";

/** How a request comes to a server. */
export type Protocol = "h1" | "h1-tls" | "h2";

/** What a start may change. */
export interface PeerOptions {
  /** Room for cached objects, in bytes. */
  readonly cacheBytes: number;
  /** Cores it may use; left out: the server's. More than one: as many workers. */
  readonly cpus?: string;
}

/** A kind of server. */
export interface Peer {
  readonly name: string;
  /** The program it needs; null for Proxima. */
  readonly needs: NeededProgram | null;
  /** False for a ceiling that serves files and caches nothing. */
  readonly caches: boolean;
  readonly protocols: readonly Protocol[];
  /** How it was tuned, in some words for the report. */
  readonly tuning: string;
  start(stage: Stage, options: PeerOptions): Promise<RunningPeer>;
}

/** A started server. */
export interface RunningPeer {
  readonly peer: Peer;
  readonly process: Process;
  readonly httpPort: number;
  /** 0 where the peer has no TLS. */
  readonly httpsPort: number;
  /** Port of Proxima's control listener; 0 for others. */
  readonly controlPort: number;
  stop(): Promise<void>;
}

/** The URL of a path by a protocol. */
export function urlOf(running: RunningPeer, protocol: Protocol, path: string): string {
  return protocol === "h1"
    ? `http://127.0.0.1:${running.httpPort}${path}`
    : `https://127.0.0.1:${running.httpsPort}${path}`;
}

/** What a peer's own part of a start gets. */
export interface Place {
  readonly folder: string;
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly controlPort: number;
  /** Number of workers or threads. */
  readonly workers: number;
  /** Writes a file of the folder; returns its path. */
  write(name: string, text: string): string;
}

let places = 0;

/** Starts a peer: `prepare` writes what it needs and returns its command line. */
export async function startPeer(
  peer: Peer,
  stage: Stage,
  options: PeerOptions,
  prepare: (place: Place) => { readonly argv: readonly string[]; readonly env?: Record<string, string> },
): Promise<RunningPeer> {
  const cpus = options.cpus ?? SERVER_CPU;
  const folder = makeFolder(stage, `${places++}-${peer.name.replaceAll(/\W+/g, "-")}`);
  const place: Place = {
    folder,
    httpPort: freePort(),
    httpsPort: peer.protocols.includes("h1-tls") ? freePort() : 0,
    controlPort: freePort(),
    workers: cpus.split(",").length,
    write(name, text) {
      const path = join(folder, name);
      writeFileSync(path, text);
      return path;
    },
  };
  const { argv, env = {} } = prepare(place);
  const process = stage.processes.start(peer.name, argv, { cpus, cwd: folder, env });
  await untilListening(place.httpPort, process);
  if (place.httpsPort !== 0) await untilListening(place.httpsPort, process);
  const { httpPort, httpsPort, controlPort } = place;
  return { peer, process, httpPort, httpsPort, controlPort, stop: () => process.stop() };
}
