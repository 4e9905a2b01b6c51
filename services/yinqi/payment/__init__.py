"""The payment service (付款服务): takes payments, decides what may be sent and when, follows each to its end."""
