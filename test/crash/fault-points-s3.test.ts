import { STORE_FAULT_POINTS, testFaultPoints } from "./fault-points.ts";

testFaultPoints("s3", STORE_FAULT_POINTS);
