import { expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { isPortFree } from "../../../src/cli/ports.ts";

test("a port is not free while TCP has it, shared or not", async () => {
  for (const reusePort of [false, true]) {
    const server = Bun.serve({ hostname: "127.0.0.1", port: 0, reusePort, fetch: () => new Response("") });
    const port = server.port ?? 0;
    expect(await isPortFree("127.0.0.1", port, false)).toBe(false);
    await server.stop(true);
    expect(await isPortFree("127.0.0.1", port, true)).toBe(true);
  }
});

test("a port that UDP has is free for TCP alone", async () => {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  expect(await isPortFree("127.0.0.1", port, true)).toBe(false);
  expect(await isPortFree("127.0.0.1", port, false)).toBe(true);
  socket.close();
});
