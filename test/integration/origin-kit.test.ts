/** An application with the origin kit behind the whole program: what it says is what the edge does. */
import { expect, test } from "bun:test";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import express from "express";
import { createOriginKit } from "proxima-cdn/origin";
import { stage } from "../kit/stage.ts";

const { programs, stops } = stage();

test("pages are kept, sessions are not, and a change of content is seen by the next viewer", async () => {
  const prices = new Map([["7", 10]]);
  const app = express();
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  stops.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const program = programs().start([
    "dev",
    `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...["--http", ":0", "--https", ":0", "--control", ":0", "--no-http3"],
  ]);
  const { http, control } = await program.addresses();
  const kit = createOriginKit({
    rules: [
      { path: "/assets/*", immutable: "hashed" },
      { path: "/*", sharedMaxAgeSeconds: 3_600 },
    ],
    purge: {
      control,
      content: { product: (id) => ({ urls: [`${http}/product/${id}`], tags: [`product-${id}`] }) },
    },
  });
  stops.push(() => kit.close());
  app.use(kit.express());
  for (const path of ["/product/7", "/list", "/assets/app-4f3a9c1b.js"]) {
    app.get(path, (request, response) => {
      if (path === "/list") kit.tag(request, "product-7");
      response.send(`${path} ${prices.get("7")}`);
    });
  }

  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(http + path, { headers });
    const body = await response.text();
    expect(response.headers.get("cache-tag")).toBeNull();
    return `${response.headers.get("x-cache")?.toUpperCase()} ${body.split(" ")[1]}`;
  };
  expect([await ask("/product/7"), await ask("/product/7")]).toEqual(["MISS 10", "HIT 10"]);
  expect([await ask("/list"), await ask("/list")]).toEqual(["MISS 10", "HIT 10"]);
  expect([await ask("/assets/app-4f3a9c1b.js"), await ask("/assets/app-4f3a9c1b.js")]).toEqual([
    "MISS 10",
    "HIT 10",
  ]);
  expect(await ask("/assets/other", { cookie: "sid=1" })).toStartWith("BYPASS");

  prices.set("7", 11);
  expect(await ask("/list")).toBe("HIT 10");
  kit.changed("product", 7);
  expect(await kit.flush()).toEqual({ waiting: 0 });
  expect([await ask("/product/7"), await ask("/list")]).toEqual(["MISS 11", "MISS 11"]);
  expect(await ask("/assets/app-4f3a9c1b.js")).toBe("HIT 10");
});
