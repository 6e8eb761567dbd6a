//! A CloudWatch that refuses what CloudWatch refuses.
