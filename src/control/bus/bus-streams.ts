/** The streams of a fleet: made when they are not there, brought to the settings when they are. */
import {
  DiscardPolicy,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { LOG_STREAM_BYTES_MAX, PIECES_STREAM_BYTES_MAX } from "../../service/bus/bus-limits.ts";
import type { BusNames } from "../../service/bus/bus-names.ts";
import { CHANGES_KEPT_MAX } from "../limits.ts";

/** For how long the servers know messages again that are sent once more, in nanoseconds. */
const DUPLICATE_WINDOW_NS = 120_000_000_000;

/** Makes or updates the streams. */
export async function ensureStreams(
  manager: JetStreamManager,
  names: BusNames,
  replicas: number,
): Promise<void> {
  const both = {
    num_replicas: replicas,
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    duplicate_window: DUPLICATE_WINDOW_NS,
    // Any server answers a node, not only the stream's leader.
    allow_direct: true,
  } satisfies Partial<StreamConfig>;
  await ensure(manager, {
    ...both,
    name: names.logStream,
    subjects: [names.logSubject],
    // As long as the control plane's own log.
    max_msgs: CHANGES_KEPT_MAX,
    max_bytes: LOG_STREAM_BYTES_MAX,
  });
  await ensure(manager, {
    ...both,
    name: names.piecesStream,
    subjects: [names.piecesSubjects],
    max_msgs_per_subject: 1,
    max_bytes: PIECES_STREAM_BYTES_MAX,
  });
}

async function ensure(
  manager: JetStreamManager,
  config: Partial<StreamConfig> & { readonly name: string },
): Promise<void> {
  const known = await manager.streams.info(config.name).catch((error: unknown) => {
    if (isNotFound(error)) return null;
    throw error;
  });
  if (known === null) {
    await manager.streams.add(config);
    return;
  }
  const differs = Object.entries(config).some(
    ([name, value]) => !Bun.deepEquals(known.config[name as keyof StreamConfig], value),
  );
  if (differs) await manager.streams.update(config.name, config);
}

/** The server has no such stream (error 10059). */
function isNotFound(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error.name === "StreamNotFoundError" || /stream not found/i.test(error.message))
  );
}
