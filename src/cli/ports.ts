/** Which ports are free: for defaults that nobody asked for, so that a second program is no reason to fail. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

/** True when TCP, and with `udp` UDP as well, can be bound exclusively now. */
export async function isPortFree(hostname: string, port: number, udp: boolean): Promise<boolean> {
  return (await isTcpFree(hostname, port)) && (!udp || (await isUdpFree(hostname, port)));
}

function isTcpFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

function isUdpFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    socket.once("error", () => {
      socket.close();
      resolve(false);
    });
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve(true)));
  });
}
