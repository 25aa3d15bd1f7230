import { FAULT_POINTS, testFaultPoints } from "./fault-points.ts";

testFaultPoints("directory", FAULT_POINTS);
