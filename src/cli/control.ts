/** `proxima control`: the control plane of a fleet. */
import { readFile } from "node:fs/promises";
import { systemClock } from "../base/clock.ts";
import type { ListenAddress } from "../config/address.ts";
import { type ControlPlane, startControlPlane } from "../control/control-plane.ts";
import { addressSet, isPublicIp } from "../http/ip.ts";
import { runUntilSignal } from "../service/signals.ts";
import { guardedPost } from "../upstream/guarded-post.ts";
import { SilentExit, UsageError } from "./failure.ts";
import { styleFor } from "./io.ts";
import { nodeLog, type Program } from "./serve.ts";
import { VERSION } from "./version.ts";

/** Options of the command. */
export interface ControlOptions {
  readonly listen: ListenAddress;
  readonly dataDir: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly name: readonly string[];
  readonly newAdminToken?: boolean;
  readonly webhookAddress: readonly string[];
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
  const { hostname } = options.listen;
  const plane = await startControlPlane({
    address: { ...options.listen, hostname: hostname === "" ? "127.0.0.1" : hostname },
    dataDir: options.dataDir,
    tls,
    names: options.name,
    sendWebhook: (url, body, fields) => guardedPost(url, body, fields, { clock: systemClock, allowAddress }),
    newAdminToken: options.newAdminToken === true,
    version: VERSION,
    command: program.command,
    clock: systemClock,
    log,
  });
  const ended = runUntilSignal(plane, log);
  io.out(banner(plane, io.color));
  const status = await ended;
  if (status !== 0) throw new SilentExit(status);
}

function banner(plane: ControlPlane, color: boolean): string {
  const style = styleFor(color);
  const url = `${plane.scheme}://${plane.address}`;
  const lines = [
    style.bold(`proxima ${VERSION} is a control plane`),
    "",
    `  api      ${url}/v1 (${url}/docs)`,
    `  data     ${plane.dataDir}`,
  ];
  if (plane.adminToken !== null)
    lines.push(
      `  token    ${plane.adminToken}`,
      "           may do everything; it is shown this once and kept nowhere",
    );
  return `${lines.join("\n")}\n\n`;
}

async function pem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new UsageError(`file ${path} can not be read`, cause);
  }
}
