/**
 * Opens connections, has one answer on each, and holds them until it is ended. Prints "held N" when they
 * stand. `bun idle-program.ts PORT CONNECTIONS PATH`.
 */
const [port, wanted, path] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4] ?? "/"];
/** Connections that are opened at the same time. */
const WIDTH = 200;
const sockets: Bun.Socket[] = [];

function open(): Promise<void> {
  const answered = Promise.withResolvers<void>();
  void Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      open(socket) {
        sockets.push(socket);
        socket.write(`GET ${path} HTTP/1.1\r\nHost: bench.test\r\n\r\n`);
      },
      data: () => answered.resolve(),
      close: () => answered.reject(new Error("the server closed a connection")),
      error: (_, error) => answered.reject(error),
      connectError: (_, error) => answered.reject(error),
    },
  }).catch(answered.reject);
  return answered.promise;
}

while (sockets.length < wanted) {
  await Promise.all(Array.from({ length: Math.min(WIDTH, wanted - sockets.length) }, open));
}
console.log(`held ${sockets.length}`);
setInterval(() => {}, 60_000);

export {};
