/** How this node reaches the bus that its config names: files and secrets read. */
import { readFile } from "node:fs/promises";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { NodeConfig } from "../../config/schema.ts";
import type { BusAccess } from "../../service/bus/bus-connection.ts";
import { readSecret } from "../secrets.ts";

/** Null without `join.nats`. Rejects with a ProximaError that names the setting, and never a secret. */
export async function readBusAccess({ join }: NodeConfig): Promise<BusAccess | null> {
  const nats = join?.nats;
  if (nats === undefined) return null;
  return {
    servers: nats.servers,
    name: nats.stream,
    credentials: await file("join.nats.credentialsFile", nats.credentialsFile),
    token: nats.token === undefined ? null : await secret("join.nats.token", nats.token),
    user:
      nats.user === undefined
        ? null
        : {
            name: nats.user.name,
            password: await secret("join.nats.user.password", nats.user.password),
          },
    ca: await file("join.nats.caFile", nats.caFile),
  };
}

async function file(setting: string, path: string | undefined): Promise<string | null> {
  if (path === undefined) return null;
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw unusable(`${setting}: the file ${path} can not be read: ${messageOf(cause)}`, cause);
  }
}

async function secret(setting: string, ref: Parameters<typeof readSecret>[0]): Promise<string> {
  // The node's own config may name any place: `permitted` is for sites.
  const text = await readSecret(ref, undefined).catch((cause: unknown) => {
    throw unusable(`${setting}: ${messageOf(cause)}`, cause);
  });
  if (text === null || text === "")
    throw unusable(
      `${setting}: ${"env" in ref ? `the variable ${ref.env} is not set` : "the file is empty"}`,
    );
  return text;
}

function unusable(message: string, cause?: unknown): ProximaError {
  return new ProximaError("bus_unusable", message, { source: "node", cause });
}
