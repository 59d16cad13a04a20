/** `proxima takeover`: what a machine needs so that clients of other CDNs ask a control plane here. */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { systemClock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { ListenAddress } from "../config/address.ts";
import { type TakeoverOptions, takeoverHosts } from "../control/takeover.ts";
import { ensureLocalCa } from "../edge/tls/local-ca.ts";
import type { NodeLog } from "../service/log.ts";
import { listenRaw } from "./control-storage.ts";
import { UsageError } from "./failure.ts";
import { type Io, styleFor } from "./io.ts";

/** Options of the command. */
export interface TakeoverCommandOptions {
  readonly dataDir: string;
  readonly address: string;
  readonly hosts?: boolean;
  readonly env?: boolean;
}

/** A certificate for names, of the authority in the directory, which is made where it is missing. */
async function takeoverCertificate(
  directory: string,
  names: readonly string[],
): Promise<{ cert: string; key: string; caFile: string }> {
  const ca = await ensureLocalCa(directory);
  return { ...(await ca.issue([...names, "localhost", "127.0.0.1"])), caFile: ca.certFile };
}

/** Takeover at an address, for a control plane. */
export function takeoverAt(address: ListenAddress, log: NodeLog): TakeoverOptions {
  return {
    certificate: takeoverCertificate,
    listen: (tls, answer) =>
      listenRaw({ name: "takeover", flag: "--takeover", address, tls, answer, log, clock: systemClock }),
  };
}

/** Lines of a hosts file. */
export function hostsLines(address: string): readonly string[] {
  return takeoverHosts.filter((host) => !host.startsWith("*.")).map((host) => `${address} ${host}`);
}

/** What clients read their authorities from. */
export function environmentLines(caFile: string): readonly string[] {
  return [`NODE_EXTRA_CA_CERTS=${caFile}`, `AWS_CA_BUNDLE=${caFile}`];
}

/** Runs the command. Throws a UsageError where the directory can not be used. */
export async function takeoverCommand(options: TakeoverCommandOptions, io: Io): Promise<void> {
  const directory = resolve(options.dataDir);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new UsageError(`--data-dir ${directory} can not be used: ${messageOf(error)}`, error);
  }
  const { certFile, name } = await ensureLocalCa(directory);
  const hosts = hostsLines(options.address);
  const environment = environmentLines(certFile);
  if (options.hosts === true || options.env === true) {
    const lines = [...(options.hosts === true ? hosts : []), ...(options.env === true ? environment : [])];
    io.out(`${lines.join("\n")}\n`);
    return;
  }
  const style = styleFor(io.color);
  io.out(
    `${[
      style.bold("hosts file"),
      ...hosts,
      `# Akamai: also the host of your .edgerc, beneath luna.akamaiapis.net or purge.akamaiapis.net`,
      "",
      style.bold("environment of the clients"),
      ...environment,
      "",
      style.bold("authority"),
      `${name}, ${certFile}`,
    ].join("\n")}\n`,
  );
}
