// @ts-nocheck Sockets as Node has them inside
/**
 * What a hosts file and a port of its own would do, for one Node process: TAKEOVER_HOSTS lead to 127.0.0.1,
 * and their port 443 to TAKEOVER_PORT. The clients above it are as they are.
 */
const net = require("node:net");

const hosts = new Set((process.env.TAKEOVER_HOSTS ?? "").split(","));
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
  const given = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (typeof given === "object" && given !== null && hosts.has(given.host) && Number(given.port) === 443) {
    given.port = Number(process.env.TAKEOVER_PORT);
    given.lookup = (_host, options, done) =>
      options.all === true ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
  }
  return Reflect.apply(connect, this, args);
};
