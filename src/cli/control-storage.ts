/** Push storage of `proxima control`: where its content lies, and its listener. */
import type { Clock } from "../base/clock.ts";
import { messageOf, ProximaError } from "../base/errors.ts";
import type { ListenAddress } from "../config/address.ts";
import type { StorageListener, StorageOptions } from "../control/control-plane.ts";
import { defaultListenerLimits } from "../edge/listener/limits.ts";
import { RawListener } from "../edge/listener/raw/raw-listener.ts";
import { isLoopback } from "../service/control-guard.ts";
import { formatAddress, listenError } from "../service/listen-error.ts";
import type { NodeLog } from "../service/log.ts";
import { FILE_BYTES_MAX } from "../storage/limits.ts";
import type { StorageRequest, StorageResponse } from "../storage/message.ts";
import { S3Blobs } from "../storage/s3-blobs.ts";
import { UsageError } from "./failure.ts";
import type { Io } from "./io.ts";

const HEADER_BYTES_MAX = 32 * 1024;
/** Uploads that are under way may end within so long when the control plane stops, in milliseconds. */
const STOP_WAIT_MS = 2_000;

/** What storage needs of the command. */
interface Surroundings {
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly io: Pick<Io, "env">;
  readonly log: NodeLog;
  readonly clock: Clock;
}

/** Storage as the options say. Throws a UsageError. */
export function openStorage(
  address: ListenAddress | null,
  s3: URL | null,
  around: Surroundings,
): StorageOptions {
  return {
    store: s3 === null ? null : new S3Blobs(placeOf(s3, around.io.env)),
    listen: address === null ? null : (answer) => listen(address, answer, around),
  };
}

/** `https://endpoint/bucket/prefix`, with the credentials of the environment, as AWS's own tools take them. */
function placeOf(url: URL, env: Io["env"]): ConstructorParameters<typeof S3Blobs>[0] {
  const [bucket = "", ...prefix] = url.pathname.split("/").filter((part) => part !== "");
  const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_REGION: region } = env;
  if (bucket === "")
    throw new UsageError("--storage-s3 names no bucket: write https://ENDPOINT/BUCKET[/PREFIX]");
  if (id === undefined || secret === undefined)
    throw new UsageError("--storage-s3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment");
  return {
    endpoint: url.origin,
    bucket,
    region: region ?? "us-east-1",
    accessKeyId: id,
    secretAccessKey: secret,
    prefix: prefix.length === 0 ? "" : `${prefix.join("/")}/`,
  };
}

function listen(
  address: ListenAddress,
  answer: (request: StorageRequest) => Promise<StorageResponse>,
  { tls, log, clock }: Surroundings,
): StorageListener {
  const hostname = address.hostname === "" ? "127.0.0.1" : address.hostname;
  if (!isLoopback(hostname) && tls === null)
    throw new ProximaError(
      "control_not_protected",
      `storage address ${formatAddress(address)} can be reached from other machines and needs TLS: give --tls-cert and --tls-key, or listen on 127.0.0.1`,
      { source: "node" },
    );
  return listenRaw({ name: "storage", flag: "--storage", address, tls, answer, log, clock });
}

/** What a raw listener of the control plane is. */
export interface RawSetup {
  /** In messages, and the option that its address is of. */
  readonly name: string;
  readonly flag: string;
  readonly address: ListenAddress;
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly answer: (request: StorageRequest) => Promise<StorageResponse>;
  readonly log: NodeLog;
  readonly clock: Clock;
}

/**
 * The raw HTTP/1.1 listener: it takes any method (Bunny's DESCRIBE), keeps the target as it was signed, and
 * reads a body no faster than it is stored.
 */
export function listenRaw({ name, flag, address, tls, answer, log, clock }: RawSetup): StorageListener {
  const hostname = address.hostname === "" ? "127.0.0.1" : address.hostname;
  let listener: RawListener;
  try {
    listener = new RawListener({
      listen: { hostname, port: address.port },
      reusePort: false,
      ...(tls === null ? {} : { tls }),
      handler: answer,
      requestHeaderBytesMax: HEADER_BYTES_MAX,
      requestBodyBytesMax: FILE_BYTES_MAX + 16 * 1024 * 1024,
      limits: defaultListenerLimits,
      clock,
      passTo: () => 0,
      onError: (error) => log("warning", `${name}: ${messageOf(error)}`),
    });
  } catch (cause) {
    throw listenError(name, flag, address, cause);
  }
  return {
    address: formatAddress({ hostname, port: listener.port }),
    async stop() {
      listener.announceEnd();
      await Promise.race([listener.close(), Bun.sleep(STOP_WAIT_MS)]);
      listener.stop();
    },
  };
}
