import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isForbiddenAddress, isLoopbackAddress } from "./address-rules.ts";

const FORBIDDEN = [
  ["0.0.0.0", "unspecified"],
  ["0.1.2.3", "this network"],
  ["10.0.0.1", "private"],
  ["10.255.255.255", "private, last"],
  ["100.64.0.1", "carrier-grade NAT"],
  ["100.100.100.200", "metadata of a cloud in carrier-grade NAT"],
  ["100.127.255.255", "carrier-grade NAT, last"],
  ["127.0.0.1", "loopback"],
  ["127.255.255.255", "loopback, last"],
  ["168.63.129.16", "host agent of a cloud"],
  ["169.254.169.254", "metadata"],
  ["172.16.0.1", "private"],
  ["172.31.255.255", "private, last"],
  ["192.0.0.192", "metadata in the IETF block"],
  ["192.0.2.1", "documentation"],
  ["192.88.99.1", "6to4 relays"],
  ["192.168.1.1", "private"],
  ["198.18.0.1", "benchmarking"],
  ["198.19.255.255", "benchmarking, last"],
  ["198.51.100.7", "documentation"],
  ["203.0.113.7", "documentation"],
  ["224.0.0.1", "multicast"],
  ["239.255.255.255", "multicast, last"],
  ["240.0.0.1", "reserved"],
  ["255.255.255.255", "broadcast"],
  ["::", "unspecified"],
  ["::1", "loopback"],
  ["::7f00:1", "compatible loopback"],
  ["::8.8.8.8", "compatible, whatever it carries"],
  ["::ffff:10.0.0.1", "mapped private"],
  ["::ffff:7f00:1", "mapped loopback"],
  ["::ffff:8.8.8.8", "mapped, whatever it carries"],
  ["::ffff:0:10.0.0.1", "translated"],
  ["64:ff9b::a00:1", "NAT64"],
  ["64:ff9b:1::a00:1", "local NAT64"],
  ["100::1", "discard"],
  ["2001::1", "Teredo"],
  ["2001:2::1", "benchmarking"],
  ["2001:20::1", "ORCHID"],
  ["2001:db8::1", "documentation"],
  ["2002:a00:1::", "6to4"],
  ["3fff::1", "documentation"],
  ["5f00::1", "segment routing"],
  ["fc00::1", "unique local"],
  ["fd00:ec2::254", "metadata in unique local"],
  ["fe80::1", "link-local"],
  ["fe80::1%eth0", "link-local with a zone"],
  ["2606:4700::1111%eth0", "a zone on a public address"],
  ["fec0::1", "site-local"],
  ["ff02::1", "multicast"],
  ["", "nothing"],
  ["example.com", "a name"],
  ["127.1", "a short form"],
  ["010.8.8.8", "a leading zero"],
] as const;

const PERMITTED = [
  "1.1.1.1",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "126.255.255.255",
  "128.0.0.0",
  "172.15.255.255",
  "172.32.0.0",
  "192.0.1.0",
  "192.167.255.255",
  "198.17.255.255",
  "198.20.0.0",
  "223.255.255.255",
  "2001:200::1",
  "2001:4860:4860::8888",
  "2003::1",
  "2606:4700:4700::1111",
];

describe("address rules", () => {
  test.each(FORBIDDEN)("%s is forbidden: %s", (address) => {
    expect(isForbiddenAddress(address, { allowLoopback: false })).toBe(true);
  });

  test.each(PERMITTED)("%s is permitted", (address) => {
    expect(isForbiddenAddress(address, { allowLoopback: false })).toBe(false);
  });

  test("allowing loopback permits loopback and nothing else", () => {
    const permitted = FORBIDDEN.filter(([address]) => !isForbiddenAddress(address, { allowLoopback: true }));
    expect(permitted.map(([address]) => address)).toEqual(["127.0.0.1", "127.255.255.255", "::1"]);
    expect(["127.9.9.9", "::1", "0:0:0:0:0:0:0:1"].every(isLoopbackAddress)).toBe(true);
    expect(["::ffff:127.0.0.1", "::1%lo", "128.0.0.1", "localhost"].some(isLoopbackAddress)).toBe(false);
  });

  test("an IPv4 address inside an IPv6 one is forbidden in every way of carrying it", () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.constantFrom("::", "::ffff:", "::ffff:0:", "64:ff9b::"), (inner, prefix) => {
        expect(isForbiddenAddress(`${prefix}${inner}`, { allowLoopback: false })).toBe(true);
      }),
    );
  });
});
