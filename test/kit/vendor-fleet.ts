/** A fleet of one edge with a site, and the clients of other CDNs: as they can be set, and as they come. */
import { expect } from "bun:test";
import { takeoverHosts } from "../../src/control/takeover.ts";
import { type FleetEdge, TestFleet } from "./fleet.ts";
import { VendorClients } from "./vendor-clients.ts";

/** The host of an .edgerc. */
export const AKAMAI_HOST = "akab-0123456789.luna.akamaiapis.net";

/** It, running. */
export class VendorFleet {
  readonly fleet: TestFleet;
  readonly edge: FleetEdge;
  readonly clients: VendorClients;
  /** Those that ask the hosts that they know. */
  readonly unaware: VendorClients;
  readonly takeoverPort: number;
  readonly caFile: string;
  /** An access key that may purge. */
  readonly key: { readonly accessKeyId: string; readonly secretAccessKey: string };

  private constructor(parts: Pick<VendorFleet, "fleet" | "edge" | "takeoverPort" | "caFile" | "key">) {
    this.fleet = parts.fleet;
    this.edge = parts.edge;
    this.takeoverPort = parts.takeoverPort;
    this.caFile = parts.caFile;
    this.key = parts.key;
    this.clients = new VendorClients();
    this.unaware = VendorClients.takenOver(parts.takeoverPort, [...takeoverHosts, AKAMAI_HOST], parts.caFile);
  }

  static async start(): Promise<VendorFleet> {
    const fleet = new TestFleet(["--takeover", "127.0.0.1:0"]);
    await fleet.ready();
    const [, port] = await fleet.control.until(/takeover +https:\/\/127\.0\.0\.1:(\d+)/);
    const [, caFile = ""] = await fleet.control.until(/NODE_EXTRA_CA_CERTS=(\S+)/);
    const edge = await fleet.edge("edge-a");
    const made = await fleet.ask("POST", "/v1/tokens", { name: "ci", scopes: ["purge"], accessKey: true });
    const key = {
      accessKeyId: made.value.token.accessKeyId,
      secretAccessKey: made.value.secretAccessKey,
    };
    const started = new VendorFleet({ fleet, edge, takeoverPort: Number(port), caFile, key });
    await fleet.apply({ shop: started.site() }, [edge]);
    return started;
  }

  /** The site's config, for any host, known by ids of other CDNs. */
  site(more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return this.fleet.site({ vendorIds: ["EDFDVBD6EXAMPLE", "12345"], ...more });
  }

  /** Host and port of the edge. */
  get host(): string {
    return new URL(this.edge.http).host;
  }

  /** Stores some paths anew and does something; which of them are not hits any more. */
  async gone(paths: readonly string[], act: () => Promise<unknown>): Promise<string[]> {
    const { fleet, edge } = this;
    await fleet.ask("POST", "/v1/purges?wait=applied", { scope: "everything", site: "shop" });
    for (const path of paths) await edge.get(path);
    for (const path of paths) expect((await edge.get(path)).cache).toBe("HIT");
    await act();
    const found: string[] = [];
    for (const path of paths) if ((await edge.get(path)).cache !== "HIT") found.push(path);
    return found;
  }

  async stop(): Promise<void> {
    await Promise.all([this.clients.stop(), this.unaware.stop()]);
    await this.fleet.stop();
  }
}
