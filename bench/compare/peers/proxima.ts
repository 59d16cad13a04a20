/**
 * Proxima as it ships: its default configuration but for addresses, the origin and one worker. A variant is
 * the same with some settings more, and stands in the tables as a row of its own.
 */
import { ENGINE_ENV } from "../../../scripts/bun.mjs";
import { type Peer, startPeer } from "./peer.ts";

const MAIN = new URL("../../../src/main.ts", import.meta.url).pathname;
const MIB = 2 ** 20;
/** What `cache.memory` is when nobody sets it. */
export const DEFAULT_CACHE_BYTES = 256 * MIB;

type Settings = { readonly [name: string]: unknown };

/** A row of Proxima. */
export interface Variant {
  readonly name: string;
  readonly tuning: string;
  /** Settings of the config file, merged over the shipped ones. */
  readonly settings: Settings;
  readonly env?: Readonly<Record<string, string>>;
}

/** The rows that are always measured; the first is the one that ratios are of. */
export const SHIPPED: Variant = {
  name: "proxima",
  tuning: "default configuration, workers 1",
  settings: {},
};

/** The shipped one with its access log on. */
export const LOGGED: Variant = {
  name: "proxima, access log",
  tuning: "accessLog.file set",
  settings: { accessLog: { file: "access.log" } },
};

/** What a site may ask for on the way of a hit, all at once. */
export const FEATURES: Variant = {
  name: "proxima, all features",
  tuning: "rules for key, fields, rewrites, redirects, bypass and browser TTL configured",
  settings: {
    sites: {
      bench: {
        redirects: [{ path: "/old/*", to: "/new/$1" }],
        behaviors: [
          { path: "/none/*", cache: false },
          {
            path: "/*",
            cacheKey: {
              query: { exclude: ["utm_source"] },
              sortQuery: true,
              headers: ["x-tenant"],
              cookies: ["group"],
              device: true,
              language: ["en", "de"],
            },
            bypass: { cookies: ["session"], headers: ["x-bypass"], queryParameters: ["preview"] },
            browserTtlSeconds: 60,
            rewrite: [{ match: "/rewritten/*", to: "/$1" }],
            requestHeaders: { set: { "x-edge": "1" } },
            responseHeaders: { set: { "x-frame-options": "DENY" }, remove: ["server"] },
          },
        ],
      },
    },
  },
};

/** A variant from the command line: `name={"setting":...}`. Throws with one sentence. */
export function parseVariant(text: string): Variant {
  const at = text.indexOf("=");
  let settings: unknown;
  try {
    settings = JSON.parse(text.slice(at + 1));
  } catch {
    settings = null;
  }
  if (at < 1 || settings === null || typeof settings !== "object" || Array.isArray(settings)) {
    throw new Error(
      `--variant ${text}: write NAME={...}, the settings as JSON, such as log={"accessLog":{"file":"a"}}`,
    );
  }
  return {
    name: `proxima, ${text.slice(0, at)}`,
    tuning: text.slice(at + 1),
    settings: settings as Settings,
  };
}

/** Proxima as a peer. */
export function proxima(variant: Variant): Peer {
  return {
    name: variant.name,
    needs: null,
    caches: true,
    protocols: ["h1", "h1-tls", "h2"],
    tuning: variant.tuning,
    start(stage, options) {
      return startPeer(this, stage, options, (place) => {
        const { cacheBytes } = options;
        const shipped = {
          listen: {
            http: `127.0.0.1:${place.httpPort}`,
            https: `127.0.0.1:${place.httpsPort}`,
            control: `127.0.0.1:${place.controlPort}`,
            tls: { certificates: [{ cert: stage.tls.cert, key: stage.tls.key }] },
          },
          ...(cacheBytes === DEFAULT_CACHE_BYTES ? {} : { cache: { memory: cacheBytes } }),
          workers: place.workers,
          dataDir: "data",
          sites: {
            bench: { hosts: ["*"], origins: { app: { url: `http://127.0.0.1:${stage.originPort}` } } },
          },
        };
        const config = place.write("proxima.json", JSON.stringify(merge(shipped, variant.settings), null, 2));
        return {
          argv: [process.execPath, "--no-install", MAIN, "edge", "--config", config],
          env: { ...ENGINE_ENV, ...variant.env },
        };
      });
    },
  };
}

/** Objects are merged, everything else is replaced. */
export function merge(base: Settings, over: Settings): Settings {
  const merged: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(over)) {
    const under = merged[name];
    merged[name] = isSettings(under) && isSettings(value) ? merge(under, value) : value;
  }
  return merged;
}

function isSettings(value: unknown): value is Settings {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
