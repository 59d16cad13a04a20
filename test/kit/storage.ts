/** Push storage of a control plane in this process, on loopback, by the machine's clock: real clients sign by theirs. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { openStorage } from "../../src/cli/control-storage.ts";
import { type ControlPlane, startControlPlane } from "../../src/control/control-plane.ts";
import type { BlobStore } from "../../src/storage/blob-store.ts";

/** An access key. */
export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The same as a token: what Bunny's clients call the password. */
  readonly token: string;
}

/** Running storage. */
export interface TestStorage {
  readonly dataDir: string;
  /** Of the control plane, and of storage. */
  readonly url: string;
  readonly storage: string;
  readonly admin: string;
  readonly messages: string[];
  ask(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; value: Record<string, unknown> }>;
  zone(name: string, more?: Readonly<Record<string, unknown>>): Promise<void>;
  key(scopes: readonly string[], sites?: readonly string[]): Promise<AccessKey>;
  stop(): Promise<void>;
}

/** Starts it; content lies in `store`, or in the data directory. With `tls` storage speaks that. */
export async function startTestStorage({
  store = null,
  tls = null,
}: {
  readonly store?: BlobStore | null;
  readonly tls?: { readonly cert: string; readonly key: string } | null;
} = {}): Promise<TestStorage> {
  const dataDir = mkdtempSync(join(tmpdir(), "proxima-storage-"));
  const messages: string[] = [];
  const log = (level: string, message: string) => void messages.push(`${level}: ${message}`);
  const io = { out() {}, err() {}, color: false, env: {}, flush: () => Promise.resolve() };
  const { listen } = openStorage({ hostname: "127.0.0.1", port: 0 }, null, {
    tls,
    io,
    log,
    clock: systemClock,
  });
  const plane: ControlPlane = await startControlPlane({
    address: { hostname: "127.0.0.1", port: 0 },
    dataDir,
    tls: null,
    names: [],
    newAdminToken: false,
    sendWebhook: () => Promise.reject(new Error("the test sends none")),
    bus: null,
    storage: { store, listen },
    version: "0.0.0-test",
    command: "test",
    clock: systemClock,
    log,
  });
  const url = `http://${plane.address}`;
  const admin = plane.adminToken ?? "";
  const ask: TestStorage["ask"] = async (method, path, body) => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${admin}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, value: text === "" ? {} : JSON.parse(text) };
  };
  return {
    dataDir,
    url,
    storage: `${tls === null ? "http" : "https"}://${plane.storage}`,
    admin,
    messages,
    ask,
    async zone(name, more = {}) {
      const { status, value } = await ask("POST", "/v1/zones", { name, ...more });
      if (status !== 201) throw new Error(JSON.stringify(value));
    },
    async key(scopes, sites) {
      const { value } = await ask("POST", "/v1/tokens", {
        name: "test",
        scopes,
        accessKey: true,
        ...(sites === undefined ? {} : { sites }),
      });
      const token = value.token as { accessKeyId: string };
      return {
        accessKeyId: token.accessKeyId,
        secretAccessKey: String(value.secretAccessKey),
        token: String(value.secret),
      };
    },
    async stop() {
      await plane.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
