/** How an origin's own hop is made from its config, with the files and secrets that the config points at. */
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf, ProximaError } from "../base/errors.ts";
import { type BucketConfig, isBucket, type OriginConfig } from "../config/schema.ts";
import { BucketOrigin } from "../upstream/bucket/bucket-origin.ts";
import type { ReadSecret } from "../upstream/bucket/credentials.ts";
import { bucketService, storeUrl } from "../upstream/bucket/from-config.ts";
import type { BucketService } from "../upstream/bucket/service.ts";
import { DirectoryOrigin } from "../upstream/directory.ts";
import type { NextHop, UpstreamTimeouts } from "../upstream/next-hop.ts";
import { HttpOrigin } from "../upstream/origin.ts";

/** What the node allows its origins. */
export interface OriginPermissions {
  /** May an origin at this resolved address and port be connected to? */
  readonly allowAddress: (address: string, port: number) => boolean;
  readonly allowRoot: (realPath: string) => boolean;
  /** Reads a CA file named in the config. */
  readonly readFile: (path: string) => Promise<string>;
  /** Reads a secret that a site's config points at. */
  readonly readSecret: ReadSecret;
}

/** An origin's own hop, with nothing in front of it. */
export interface MadeOrigin {
  readonly hop: NextHop;
  readonly config: OriginConfig;
  readonly timeouts: UpstreamTimeouts;
  /** The origin's own CA (PEM), if it has one. */
  readonly ca: string | null;
  /** May this address be connected to for this origin? */
  readonly allowAddress: (address: string) => boolean;
}

/** An origin that is asked over the network. */
type ServerConfig = Exclude<OriginConfig, { readonly directory: string }>;

const NO_TIMEOUTS: UpstreamTimeouts = { connectMs: 5_000, firstByteMs: 30_000, betweenBytesMs: 30_000 };

/** Makes origins. */
export class OriginMaker {
  readonly #clock: Clock;
  readonly #permissions: OriginPermissions;
  readonly #tell: (message: string) => void;
  readonly #authorities = new Map<string, string>();
  readonly #buckets = new WeakMap<OriginConfig, BucketService>();

  /** `tell` gets what an operator has to know of an origin: a bucket that refuses this node. */
  constructor(clock: Clock, permissions: OriginPermissions, tell: (message: string) => void) {
    this.#clock = clock;
    this.#permissions = permissions;
    this.#tell = tell;
  }

  /**
   * Reads the CA file and the secrets that a config points at. `before` is the config in force of the same
   * name: an equal one goes on with its bucket. Rejects with what is wrong with one, said of `place`.
   */
  async prepare(place: string, config: OriginConfig, before: OriginConfig | undefined): Promise<void> {
    if ("directory" in config) return;
    const { caFile } = config.tls;
    if (caFile !== undefined) this.#authorities.set(caFile, await this.#permissions.readFile(caFile));
    if (!isBucket(config)) return;
    const inherited = before === undefined ? undefined : this.#buckets.get(before);
    if (inherited !== undefined && Bun.deepEquals(before, config, true)) this.#buckets.set(config, inherited);
    await this.#prepareBucket(place, config);
  }

  /** What an origin is made from: the same text makes the same origin. */
  sourceOf(config: OriginConfig): string {
    return JSON.stringify([config, "directory" in config ? null : this.#authorityOf(config)]);
  }

  make(name: string, config: OriginConfig): MadeOrigin {
    if ("directory" in config) {
      const hop = new DirectoryOrigin({
        name,
        root: config.directory,
        index: config.index,
        clock: this.#clock,
        allowRoot: this.#permissions.allowRoot,
      });
      return { hop, config, timeouts: NO_TIMEOUTS, ca: null, allowAddress: () => false };
    }
    if (!isBucket(config)) return this.#makeServer(name, config, config.url);
    const service = this.#buckets.get(config);
    assert(service !== undefined, `the bucket of origin ${name} is prepared`);
    // The bucket and its path are the signature's matter: the server is asked as it stands.
    const server = this.#makeServer(name, config, new URL(storeUrl(config)).origin);
    const { index, errorDocument, keyPrefix, deniedAsMissing, metadata } = config;
    const hop = new BucketOrigin({
      name,
      service,
      server: server.hop,
      clock: this.#clock,
      keys: { prefix: keyPrefix?.replace(/\/?$/, "/") ?? "", index: index ?? null },
      errorDocument: errorDocument ?? null,
      deniedAsMissing,
      metadata,
      tell: this.#tell,
    });
    return { ...server, hop };
  }

  /** Reads a bucket's credentials: for the first time, or again where its config is known. */
  async #prepareBucket(place: string, config: BucketConfig): Promise<void> {
    const known = this.#buckets.get(config);
    try {
      if (known !== undefined) await known.reload();
      else this.#buckets.set(config, await bucketService(config, this.#permissions.readSecret, this.#clock));
    } catch (cause) {
      throw new ProximaError("credentials_unusable", `${place}: ${messageOf(cause)}`, {
        source: "node",
        cause,
      });
    }
  }

  #makeServer(name: string, config: ServerConfig, serverUrl: string): MadeOrigin {
    const url = new URL(serverUrl);
    const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
    const ca = this.#authorityOf(config);
    const allowAddress = (address: string): boolean => this.#permissions.allowAddress(address, port);
    const hop = new HttpOrigin({
      name,
      url: serverUrl,
      clock: this.#clock,
      tls: {
        verify: config.tls.verify,
        ...(ca === null ? {} : { ca }),
        ...(config.tls.serverName === undefined ? {} : { serverName: config.tls.serverName }),
      },
      keepAliveMs: config.keepAliveMs,
      connectionsMax: config.connectionsMax,
      allowAddress,
    });
    return { hop, config, timeouts: config.timeouts, ca, allowAddress };
  }

  /** The CA (PEM) that a config names, as last read. */
  #authorityOf({ tls }: ServerConfig): string | null {
    return tls.caFile === undefined ? null : (this.#authorities.get(tls.caFile) ?? null);
  }
}
