/** A control plane in this process, on loopback, with a clock that stands still; and how a test asks it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock, systemClock } from "../../src/base/clock.ts";
import {
  type ControlPlane,
  type ControlPlaneOptions,
  startControlPlane,
} from "../../src/control/control-plane.ts";
import type { SendWebhook } from "../../src/control/webhooks/courier.ts";

/** An answer, its body parsed. */
export interface ControlAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // What tests look into has the shape that they expect, or they fail.
  // biome-ignore lint/suspicious/noExplicitAny: the shapes are what is tested
  readonly value: any;
}

/** How a request differs from the usual one of the first token. */
export interface Ask {
  /** Null for none. */
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** In place of a JSON body. */
  readonly raw?: string | Uint8Array;
}

/** A running control plane for a test. */
export interface TestControl {
  readonly clock: ManualClock;
  readonly url: string;
  readonly admin: string;
  readonly dataDir: string;
  readonly messages: string[];
  /** How webhooks are sent; refuses them unless the test says otherwise. */
  sendWebhook: SendWebhook;
  ask(method: string, path: string, body?: unknown, how?: Ask): Promise<ControlAnswer>;
  /** Makes a token; returns its secret. */
  token(scopes: readonly string[], sites?: readonly string[], hosts?: readonly string[]): Promise<string>;
  /** Refusals in the audit log, the newest first. */
  refusals(): Promise<
    { action: string; actor: string; actorName: string; address: string; detail: string }[]
  >;
  /** Ends it and starts it again on the same data directory; `between` may do things to that. */
  restart(between?: (dataDir: string) => void): Promise<void>;
  stop(): Promise<void>;
}

/** How it is started. */
export interface TestControlOptions {
  /** The machine's clock, for what goes on by itself. */
  readonly realTime?: boolean;
  /** Called before each start. */
  readonly bus?: () => ControlPlaneOptions["bus"];
}

/** Starts one. */
export async function startTestControl(options: TestControlOptions = {}): Promise<TestControl> {
  const dataDir = mkdtempSync(join(tmpdir(), "proxima-control-"));
  const clock = new ManualClock();
  const messages: string[] = [];
  const start = (port: number): Promise<ControlPlane> =>
    startControlPlane({
      address: { hostname: "127.0.0.1", port },
      dataDir,
      tls: null,
      names: [],
      newAdminToken: false,
      sendWebhook: (url, body, fields) => kit.sendWebhook(url, body, fields),
      bus: options.bus?.() ?? null,
      version: "0.0.0-test",
      command: "test",
      clock: options.realTime === true ? systemClock : clock,
      log: (level, message) => messages.push(`${level}: ${message}`),
    });
  let plane = await start(0);
  const admin = plane.adminToken ?? "";
  const url = `http://${plane.address}`;
  const ask: TestControl["ask"] = async (method, path, body, { token = admin, headers = {}, raw } = {}) => {
    const response = await fetch(url + path, {
      method,
      keepalive: false,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(method === "GET" ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(raw !== undefined ? { body: raw } : body === undefined ? {} : { body: JSON.stringify(body) }),
    } as RequestInit);
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    return {
      status: response.status,
      headers: response.headers,
      text,
      value: isJson ? JSON.parse(text) : null,
    };
  };
  const kit: TestControl = {
    clock,
    sendWebhook: () => Promise.reject(new Error("the test sends none")),
    url,
    admin,
    dataDir,
    messages,
    ask,
    async token(scopes, sites, hosts) {
      const { value } = await ask("POST", "/v1/tokens", {
        name: scopes.join("-"),
        scopes,
        ...(sites === undefined ? {} : { sites }),
        ...(hosts === undefined ? {} : { hosts }),
      });
      return value.secret;
    },
    async refusals() {
      return (await ask("GET", "/v1/audit?outcome=refused&limit=500")).value.items;
    },
    async restart(between) {
      await plane.stop();
      between?.(dataDir);
      plane = await start(Number(url.split(":").at(-1)));
    },
    async stop() {
      await plane.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
  return kit;
}

/** A site's config that is valid. */
export function siteConfig(
  host: string,
  more: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  return { hosts: [host], origins: { app: { url: "http://origin.test" } }, ...more };
}
