include guest/bare/rules.mk
