/** How an origin's own hop is made from its config, with the files and secrets that the config points at. */

import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf, ProximaError } from "../base/errors.ts";
import { isBucket } from "../config/origins.ts";
import type { BucketConfig, OriginConfig, ZoneConfig } from "../config/schema.ts";
import { BucketOrigin } from "../upstream/bucket/bucket-origin.ts";
import type { ReadSecret } from "../upstream/bucket/credentials.ts";
import { bucketService, storeUrl } from "../upstream/bucket/from-config.ts";
import type { BucketService } from "../upstream/bucket/service.ts";
import { DirectoryOrigin } from "../upstream/directory.ts";
import { type NextHop, UpstreamError, type UpstreamTimeouts } from "../upstream/next-hop.ts";
import { HttpOrigin } from "../upstream/origin.ts";
import { ZoneOrigin } from "../upstream/zone-origin.ts";

/** What the node allows its origins. */
export interface OriginPermissions {
  /** May an origin at this resolved address and port be connected to? */
  readonly allowAddress: (address: string, port: number) => boolean;
  readonly allowRoot: (realPath: string) => boolean;
  /** Reads a CA file named in the config. */
  readonly readFile: (path: string) => Promise<string>;
  /** Reads a secret that a site's config points at. */
  readonly readSecret: ReadSecret;
  /** The storage of the node's fleet; null when it is in none. */
  readonly storage: () => FleetStorage | null;
}

/** Where push zones lie. */
export interface FleetStorage {
  readonly url: string;
  /** PEM of the authorities to trust; null for the well-known ones. */
  readonly ca: string | null;
  readonly credential: () => string;
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
type ServerConfig = Exclude<OriginConfig, { readonly directory: string } | ZoneConfig>;

const NO_TIMEOUTS: UpstreamTimeouts = { connectMs: 5_000, firstByteMs: 30_000, betweenBytesMs: 30_000 };

/** Makes origins. */
export class OriginMaker {
  readonly #clock: Clock;
  readonly #permissions: OriginPermissions;
  readonly #tell: (message: string) => void;
  readonly #applied: () => number;
  readonly #authorities = new Map<string, string>();
  readonly #buckets = new WeakMap<OriginConfig, BucketService>();

  /**
   * `tell` gets what an operator has to know of an origin: a bucket that refuses this node. `applied` is the
   * newest entry of the fleet's log that is applied here.
   */
  constructor(
    clock: Clock,
    permissions: OriginPermissions,
    tell: (message: string) => void,
    applied: () => number,
  ) {
    this.#clock = clock;
    this.#permissions = permissions;
    this.#tell = tell;
    this.#applied = applied;
  }

  /**
   * Reads the CA file and the secrets that a config points at. `before` is the config in force of the same
   * name: an equal one goes on with its bucket. Rejects with what is wrong with one, said of `place`.
   */
  async prepare(place: string, config: OriginConfig, before: OriginConfig | undefined): Promise<void> {
    if ("directory" in config || "zone" in config) return;
    const { caFile } = config.tls;
    if (caFile !== undefined) this.#authorities.set(caFile, await this.#permissions.readFile(caFile));
    if (!isBucket(config)) return;
    const inherited = before === undefined ? undefined : this.#buckets.get(before);
    if (inherited !== undefined && Bun.deepEquals(before, config, true)) this.#buckets.set(config, inherited);
    await this.#prepareBucket(place, config);
  }

  /** What an origin is made from: the same text makes the same origin. */
  sourceOf(config: OriginConfig): string {
    return JSON.stringify([
      config,
      "directory" in config || "zone" in config ? null : this.#authorityOf(config),
    ]);
  }

  /** `site` is the one that the origin is of. */
  make(site: string, name: string, config: OriginConfig): MadeOrigin {
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
    if ("zone" in config) return this.#makeZone(site, name, config);
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

  /** A zone lies with the fleet's storage, whose address and authorities are the node's own business. */
  #makeZone(site: string, name: string, config: ZoneConfig): MadeOrigin {
    const storage = this.#permissions.storage();
    if (storage === null)
      return {
        hop: new NoZone(name),
        config,
        timeouts: config.timeouts,
        ca: null,
        allowAddress: () => false,
      };
    const server = new HttpOrigin({
      name,
      url: storage.url,
      clock: this.#clock,
      tls: storage.ca === null ? {} : { ca: storage.ca },
      keepAliveMs: config.keepAliveMs,
      connectionsMax: config.connectionsMax,
    });
    const hop = new ZoneOrigin({
      name,
      zone: config.zone,
      site,
      server,
      authority: new URL(storage.url).host,
      credential: storage.credential,
      applied: this.#applied,
    });
    return { hop, config, timeouts: config.timeouts, ca: null, allowAddress: () => false };
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

/** A push zone on a node that is in no fleet. */
class NoZone implements NextHop {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  fetch(): Promise<never> {
    const message = `origin "${this.name}" is a push zone, and this node is in no fleet that has one`;
    return Promise.reject(new UpstreamError("http_request_error", message));
  }

  close(): void {}
}
