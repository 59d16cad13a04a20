/** `proxima control`: the control plane of a fleet. */
import { readFile } from "node:fs/promises";
import { systemClock } from "../base/clock.ts";
import type { ListenAddress } from "../config/address.ts";
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from "../control/control-plane.ts";
import { takeoverHosts } from "../control/takeover.ts";
import { addressSet, isPublicIp } from "../http/ip.ts";
import { runUntilSignal } from "../service/signals.ts";
import { guardedPost } from "../upstream/guarded-post.ts";
import { openStorage } from "./control-storage.ts";
import { SilentExit, UsageError } from "./failure.ts";
import { type Io, styleFor } from "./io.ts";
import { onLoopback } from "./option-values.ts";
import { nodeLog, type Program } from "./serve.ts";
import { environmentLines, takeoverAt } from "./takeover.ts";
import { VERSION } from "./version.ts";

/** Options of the command. */
export interface ControlOptions {
  readonly listen: ListenAddress;
  readonly dataDir: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly name: readonly string[];
  readonly newAdminToken?: boolean;
  readonly storage?: ListenAddress;
  readonly storageS3?: URL;
  readonly webhookAddress: readonly string[];
  readonly takeover?: ListenAddress;
  readonly nats: readonly string[];
  readonly natsStream: string;
  readonly natsReplicas: number;
  readonly natsCredentials?: string;
  readonly natsCa?: string;
}

/** Runs the command until the process is told to end. */
export async function controlCommand(options: ControlOptions, program: Program): Promise<void> {
  const { io } = program;
  if ((options.tlsCert === undefined) !== (options.tlsKey === undefined))
    throw new UsageError("--tls-cert and --tls-key stand together: give both, or neither");
  const tls =
    options.tlsCert === undefined || options.tlsKey === undefined
      ? null
      : { cert: await pem(options.tlsCert), key: await pem(options.tlsKey) };
  const permitted = addressSet(options.webhookAddress);
  // Tenants name webhooks: without a word of the operator none leads into his network, or to this very machine.
  const allowAddress = (address: string): boolean => isPublicIp(address) || permitted.has(address);
  const log = nodeLog(io);
  const plane = await startControlPlane({
    address: onLoopback(options.listen),
    dataDir: options.dataDir,
    tls,
    names: options.name,
    sendWebhook: (url, body, fields) => guardedPost(url, body, fields, { clock: systemClock, allowAddress }),
    newAdminToken: options.newAdminToken === true,
    storage: openStorage(options.storage ?? null, options.storageS3 ?? null, {
      tls,
      io,
      log,
      clock: systemClock,
    }),
    takeover: options.takeover === undefined ? null : takeoverAt(options.takeover, log),
    bus: await busOf(options, io),
    version: VERSION,
    command: program.command,
    clock: systemClock,
    log,
  });
  const ended = runUntilSignal(plane, log);
  io.out(banner(plane, options.nats, io.color));
  const status = await ended;
  if (status !== 0) throw new SilentExit(status);
}

function banner(plane: ControlPlane, nats: readonly string[], color: boolean): string {
  const style = styleFor(color);
  const url = `${plane.scheme}://${plane.address}`;
  const lines = [
    style.bold(`proxima ${VERSION} is a control plane`),
    "",
    `  api      ${url}/v1 (${url}/docs)`,
    ...(plane.storage === null ? [] : [`  storage  ${plane.scheme}://${plane.storage} (S3 and Bunny)`]),
    `  data     ${plane.dataDir}`,
  ];
  if (nats.length > 0) lines.push(`  bus      ${nats.join(", ")}`);
  if (plane.takeover !== null)
    lines.push(
      `  takeover https://${plane.takeover.address} for ${takeoverHosts.join(", ")}`,
      ...environmentLines(plane.takeover.caFile).map((line) => `           ${line}`),
      "           (proxima takeover prints the entries for the hosts file)",
    );
  if (plane.adminToken !== null)
    lines.push(
      `  token    ${plane.adminToken}`,
      "           may do everything; it is shown this once and kept nowhere",
    );
  return `${lines.join("\n")}\n\n`;
}

/** The bus that the options name; its secrets come from the environment, where no list of processes shows them. */
async function busOf(options: ControlOptions, { env }: Io): Promise<ControlPlaneOptions["bus"]> {
  const { nats, natsStream, natsReplicas, natsCredentials, natsCa } = options;
  if (nats.length === 0) return null;
  const { PROXIMA_NATS_TOKEN: token, PROXIMA_NATS_USER: name, PROXIMA_NATS_PASSWORD: password } = env;
  if ((name === undefined) !== (password === undefined))
    throw new UsageError("PROXIMA_NATS_USER and PROXIMA_NATS_PASSWORD stand together: set both, or neither");
  return {
    access: {
      servers: nats,
      name: natsStream,
      credentials: natsCredentials === undefined ? null : await pem(natsCredentials),
      token: token ?? null,
      user: name === undefined || password === undefined ? null : { name, password },
      ca: natsCa === undefined ? null : await pem(natsCa),
    },
    replicas: natsReplicas,
  };
}

async function pem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new UsageError(`file ${path} can not be read`, cause);
  }
}
